# Installs the library with its headers, and the files that let find_package(rapt) find it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME library)

set(rapt_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rapt)
set(rapt_version_file ${PROJECT_BINARY_DIR}/rapt-config-version.cmake)

install(TARGETS rapt EXPORT rapt-targets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/rapt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT rapt-targets NAMESPACE rapt:: DESTINATION ${rapt_cmake_dir})
write_basic_package_version_file(${rapt_version_file} COMPATIBILITY SameMinorVersion)

# What C programs link for a static library: the C++ compiler's libraries that C's has not.
set(rapt_cxx_libraries ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
list(REMOVE_ITEM rapt_cxx_libraries ${CMAKE_C_IMPLICIT_LINK_LIBRARIES})
list(REMOVE_DUPLICATES rapt_cxx_libraries)
configure_file(${PROJECT_SOURCE_DIR}/cmake/rapt-config.cmake.in rapt-config.cmake @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/rapt-config.cmake ${rapt_version_file}
        DESTINATION ${rapt_cmake_dir})

set(rapt_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH rapt_pc_prefix /prefix/${rapt_pc_dir} /prefix)
if(NOT BUILD_SHARED_LIBS)
  set(rapt_pc_requires "tbb, icu-uc, libpcre2-8 >= 10.40")
  list(TRANSFORM rapt_cxx_libraries PREPEND " -l" OUTPUT_VARIABLE rapt_pc_libs)
  list(JOIN rapt_pc_libs "" rapt_pc_libs)
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/rapt.pc.in rapt.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/rapt.pc DESTINATION ${rapt_pc_dir})
