# rapt_add_test(name source...): adds a test program of one room.
#
# Its tests carry the label `quick`, the set that runs under sanitizers and emulation; those named
# *Exhaustive* do not. Programs of one directory share their working directory, the binary one.
include(GoogleTest)
find_package(GTest REQUIRED)

function(rapt_add_test name)
  add_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(${name} PRIVATE -ffp-contract=off)
  target_link_libraries(${name} PRIVATE rapt GTest::gtest_main)
  gtest_discover_tests(${name} TEST_FILTER "-*Exhaustive*" PROPERTIES LABELS quick
                       DISCOVERY_TIMEOUT 60)
  gtest_discover_tests(${name} TEST_FILTER "*Exhaustive*" DISCOVERY_TIMEOUT 60)
endfunction()
