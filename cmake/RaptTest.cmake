# rapt_add_test(name source...): adds a test program of one room.
#
# Its tests carry the label `quick`, the set that runs under sanitizers and emulation; those named
# *Exhaustive* do not. Programs of one directory share their working directory, the binary one.
#
# Exhaustive tests are the long ones, so they start first (COST): none is left alone at the end.
include(GoogleTest)
find_package(GTest REQUIRED)

# Tests' own code compiles in two thirds of the time by -O1, and in half of it without the
# undefined-behaviour sanitizer, which stays on the library: that is where it looks for faults.
set(RAPT_TEST_FLAGS $<$<CONFIG:Release>:-O1> -fno-sanitize=undefined -ffp-contract=off)

function(rapt_add_test name)
  add_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(${name} PRIVATE ${RAPT_TEST_FLAGS})
  target_link_libraries(${name} PRIVATE rapt GTest::gtest_main)
  set_property(GLOBAL APPEND PROPERTY RAPT_TESTS ${name})
  gtest_discover_tests(${name} TEST_FILTER "-*Exhaustive*" PROPERTIES LABELS quick
                       DISCOVERY_TIMEOUT 60)
  gtest_discover_tests(${name} TEST_FILTER "*Exhaustive*" PROPERTIES COST 100
                       DISCOVERY_TIMEOUT 60)
endfunction()
