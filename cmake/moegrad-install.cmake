# Headers and the CMake files that build the kernels in the tree of the user. No library is installed.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(moegrad_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/moegrad")
install(DIRECTORY include/moegrad DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(DIRECTORY cuda/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/moegrad/cuda" FILES_MATCHING PATTERN "*.cuh")

configure_package_config_file(cmake/moegradConfig.cmake.in moegradConfig.cmake
  INSTALL_DESTINATION "${moegrad_package_dir}" PATH_VARS CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(moegradConfigVersion.cmake
  COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/moegradConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/moegradConfigVersion.cmake"
  cmake/moegrad-targets.cmake
  cmake/moegrad-cuda.cmake
  DESTINATION "${moegrad_package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

if(TARGET moegrad)
  install(TARGETS moegrad RUNTIME)
endif()
