# moegrad::headers   the headers and what they need
# moegrad::moegrad   headers + the CPU kernels, compiled once in the build tree of whoever includes this file
# moegrad::cuda      headers + the CUDA kernels, when there are any and MOEGRAD_CUDA allows
#
# The same file serves add_subdirectory, FetchContent and the installed package. Before including it, set
#   MOEGRAD_INCLUDE_DIR   folder that holds moegrad/
#   MOEGRAD_CUDA_DIR      folder of the .cuh files; its name ends in moegrad/cuda or it is mapped there
# and have the targets fmt::fmt, Threads::Threads, Eigen3::Eigen (nlohmann_json::nlohmann_json where found).
include_guard(GLOBAL)

if(NOT EXISTS "${MOEGRAD_INCLUDE_DIR}/moegrad/version.hpp")
  message(FATAL_ERROR "moegrad: no headers in ${MOEGRAD_INCLUDE_DIR}")
endif()

set(moegrad_generated "${CMAKE_CURRENT_BINARY_DIR}/moegrad-kernels")

# Libraries that a build of this very tree has made already (MOEGRAD_BUILT_DIR, set by the package of a build tree): taken
# from there, and that build is brought up to date first.
function(moegrad_import_built target)
  if(NOT TARGET moegrad_up_to_date)
    add_custom_target(moegrad_up_to_date
      COMMAND "${CMAKE_COMMAND}" --build "${MOEGRAD_BUILT_DIR}" --target moegrad_cpu_kernels moegrad_command_line
      COMMENT "moegrad: what changed in ${MOEGRAD_BUILT_DIR}"
      BYPRODUCTS "${MOEGRAD_BUILT_DIR}/libmoegrad_cpu_kernels.a" "${MOEGRAD_BUILT_DIR}/libmoegrad_command_line.a"
      USES_TERMINAL VERBATIM)
  endif()
  add_library(${target} STATIC IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${MOEGRAD_BUILT_DIR}/lib${target}.a")
  target_link_libraries(${target} INTERFACE moegrad_headers)
  add_dependencies(${target} moegrad_up_to_date)
endfunction()

# A one-line file per kernel header (a header is never a main file), and one that defines the strong symbol which
# makes a second copy of the same kernels in a program an error of the linker. nvcc takes 15 s over what kernel headers
# share and 2 s over one more of them: its files hold several each.
function(moegrad_kernel_library target backend extension main_extension)
  set(files "")
  foreach(header IN LISTS ARGN)
    get_filename_component(name "${header}" NAME_WE)
    set(file "${name}")
    if(main_extension STREQUAL "cu")
      list(FIND ARGN "${header}" index)
      math(EXPR part "${index} % 4")
      set(file "part_${part}")
    endif()
    list(APPEND files "${file}")
    string(APPEND text_${file} "#include <moegrad/${backend}/${name}.${extension}>  // IWYU pragma: keep\n")
  endforeach()
  list(REMOVE_DUPLICATES files)
  set(sources "")
  foreach(file IN LISTS files)
    set(source "${moegrad_generated}/${backend}/${file}.${main_extension}")
    file(CONFIGURE OUTPUT "${source}" CONTENT "${text_${file}}" @ONLY)
    list(APPEND sources "${source}")
  endforeach()
  set(source "${moegrad_generated}/${backend}/linked_once.${main_extension}")
  file(CONFIGURE OUTPUT "${source}"
    CONTENT "extern \"C\" {\nint moegrad_${backend}_kernels_linked_twice_see_docs = 1;\n}\n" @ONLY)
  add_library(${target} STATIC ${sources} "${source}")
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF)
  target_link_libraries(${target} PUBLIC moegrad_headers)
endfunction()

add_library(moegrad_headers INTERFACE)
add_library(moegrad::headers ALIAS moegrad_headers)
target_compile_features(moegrad_headers INTERFACE cxx_std_20)
target_link_libraries(moegrad_headers INTERFACE fmt::fmt Threads::Threads)
if(PROJECT_NAME STREQUAL "moegrad" AND PROJECT_IS_TOP_LEVEL)
  target_include_directories(moegrad_headers INTERFACE "${MOEGRAD_INCLUDE_DIR}")
else()  # SYSTEM: a user's own warning flags are for his code
  target_include_directories(moegrad_headers SYSTEM INTERFACE "${MOEGRAD_INCLUDE_DIR}")
endif()
if(TARGET nlohmann_json::nlohmann_json)
  target_link_libraries(moegrad_headers INTERFACE nlohmann_json::nlohmann_json)
else()
  message(STATUS "moegrad: without nlohmann/json: compute only, no io.hpp, data.hpp, train.hpp "
    "(Debian: nlohmann-json3-dev)")
endif()

if(MOEGRAD_BUILT_DIR)
  moegrad_import_built(moegrad_cpu_kernels)
else()
  file(GLOB moegrad_cpu_headers CONFIGURE_DEPENDS "${MOEGRAD_INCLUDE_DIR}/moegrad/cpu/*.hpp")
  list(FILTER moegrad_cpu_headers EXCLUDE REGEX "/all\\.hpp$")
  moegrad_kernel_library(moegrad_cpu_kernels cpu hpp cpp ${moegrad_cpu_headers})
  target_link_libraries(moegrad_cpu_kernels PRIVATE Eigen3::Eigen)
  # Contraction into FMA is the compiler's choice and would change the bits with the compiler and its flags.
  # -fno-math-errno: sqrt has no errno to set, so that loops over it vectorise; the bits stay.
  target_compile_options(moegrad_cpu_kernels PRIVATE $<IF:$<CONFIG:Debug>,-O1,-O3> -ffp-contract=off -fno-math-errno)
endif()

# Whole archive: nothing names the registrations of the kernels, so a plain static library would lose them.
add_library(moegrad_moegrad INTERFACE)
add_library(moegrad::moegrad ALIAS moegrad_moegrad)
target_link_libraries(moegrad_moegrad INTERFACE
  moegrad_headers "$<LINK_LIBRARY:WHOLE_ARCHIVE,moegrad_cpu_kernels>")

# In the source tree cuda/ stands beside include/; users of either tree write <moegrad/cuda/...>.
set(moegrad_cuda_include "${MOEGRAD_INCLUDE_DIR}")
if(NOT EXISTS "${MOEGRAD_INCLUDE_DIR}/moegrad/cuda")
  set(moegrad_cuda_include "${moegrad_generated}/include")
  file(MAKE_DIRECTORY "${moegrad_cuda_include}/moegrad")
  file(CREATE_LINK "${MOEGRAD_CUDA_DIR}" "${moegrad_cuda_include}/moegrad/cuda" SYMBOLIC)
endif()

set(MOEGRAD_CUDA AUTO CACHE STRING "CUDA kernels: AUTO (when nvcc is there), ON, OFF")
set_property(CACHE MOEGRAD_CUDA PROPERTY STRINGS AUTO ON OFF)
file(GLOB moegrad_cuda_headers CONFIGURE_DEPENDS "${MOEGRAD_CUDA_DIR}/*.cuh")
list(FILTER moegrad_cuda_headers EXCLUDE REGEX "/all\\.cuh$")
if(NOT MOEGRAD_CUDA STREQUAL "AUTO" AND MOEGRAD_CUDA AND NOT moegrad_cuda_headers)
  message(FATAL_ERROR "moegrad: MOEGRAD_CUDA=ON, but this version has no CUDA kernels yet")
endif()
if(MOEGRAD_CUDA AND moegrad_cuda_headers)
  include("${CMAKE_CURRENT_LIST_DIR}/moegrad-cuda.cmake")
endif()
