# Installation rules of the package as a whole: the libraries, their public headers and find_package(ivf).
include(CMakePackageConfigHelpers)

set(IVF_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/ivf)

# ivf_format is there because libivf is a static library that needs it; only the headers that libivf's own include are public.
set_target_properties(ivf_format PROPERTIES EXPORT_NAME format)
# The public headers need C++20 of whoever includes them.
target_compile_features(ivf PUBLIC cxx_std_20)
target_compile_features(ivf_format PUBLIC cxx_std_20)
install(TARGETS ivf ivf_format EXPORT ivfTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT libivf-dev)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/libivf/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT libivf-dev
  FILES_MATCHING PATTERN "*.hpp")
install(FILES ${PROJECT_SOURCE_DIR}/format/include/ivf/error.hpp ${PROJECT_SOURCE_DIR}/format/include/ivf/types.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ivf COMPONENT libivf-dev)
install(EXPORT ivfTargets NAMESPACE ivf:: DESTINATION ${IVF_CMAKE_DIR} COMPONENT libivf-dev)

configure_package_config_file(${PROJECT_SOURCE_DIR}/scripts/cmake/ivfConfig.cmake.in ${PROJECT_BINARY_DIR}/ivfConfig.cmake
  INSTALL_DESTINATION ${IVF_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ivfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ivfConfig.cmake ${PROJECT_BINARY_DIR}/ivfConfigVersion.cmake
  DESTINATION ${IVF_CMAKE_DIR} COMPONENT libivf-dev)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT ivf)
