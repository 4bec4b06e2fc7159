# Installs the library with its headers, and the files that let find_package(rapt) find it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(rapt_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rapt)
set(rapt_version_file ${PROJECT_BINARY_DIR}/rapt-config-version.cmake)

install(TARGETS rapt EXPORT rapt-targets)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/rapt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT rapt-targets NAMESPACE rapt:: DESTINATION ${rapt_cmake_dir})
write_basic_package_version_file(${rapt_version_file} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/rapt-config.cmake ${rapt_version_file}
        DESTINATION ${rapt_cmake_dir})
