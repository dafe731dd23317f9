# Headers, and the CMake files and sources that build kernels and command line in the tree of the user. No library.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The sources of the command line go along: moegrad_add_router compiles them with a router of somebody else's.
set(moegrad_share_dir "${CMAKE_INSTALL_DATADIR}/moegrad")
install(DIRECTORY apps/moegrad DESTINATION "${moegrad_share_dir}/apps"
  FILES_MATCHING PATTERN "*.cpp" PATTERN "*.hpp")
install(DIRECTORY models DESTINATION "${moegrad_share_dir}")

set(moegrad_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/moegrad")
install(DIRECTORY include/moegrad DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(DIRECTORY cuda/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/moegrad/cuda" FILES_MATCHING PATTERN "*.cuh")

configure_package_config_file(cmake/moegradConfig.cmake.in moegrad-install/moegradConfig.cmake
  INSTALL_DESTINATION "${moegrad_package_dir}" PATH_VARS CMAKE_INSTALL_INCLUDEDIR moegrad_share_dir)
write_basic_package_version_file(moegrad-install/moegradConfigVersion.cmake
  COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/moegrad-install/moegradConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/moegrad-install/moegradConfigVersion.cmake"
  cmake/moegrad-targets.cmake
  cmake/moegrad-cuda.cmake
  cmake/moegrad-command-line.cmake
  cmake/moegrad-text.cmake
  DESTINATION "${moegrad_package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

if(TARGET moegrad)
  install(TARGETS moegrad RUNTIME)
endif()
