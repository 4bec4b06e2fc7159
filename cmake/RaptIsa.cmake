# rapt_add_kernels(target folder...): adds <isa>.cc of each folder, compiled for that instruction set, for
# every set of the CPU that the folders have a file of.
#
# Kernels are optimised in every build type and never contract a*b+c: a fused multiply-add is written
# where it is meant (docs/numerics.md).
set(RAPT_KERNEL_OPTIMIZATION -O3 CACHE STRING "Kernels' optimisation; lower compiles sooner")
mark_as_advanced(RAPT_KERNEL_OPTIMIZATION)
set(RAPT_KERNEL_FLAGS ${RAPT_KERNEL_OPTIMIZATION} -ffp-contract=off -fno-math-errno
    -fno-trapping-math)

# The instruction sets of each CPU, as src/base/isa_table.h has them, and their flags.
set(RAPT_ISAS scalar)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND RAPT_ISAS avx2 avx512 avx512bf16)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND RAPT_ISAS neon)
endif()
set(RAPT_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
# GCC 12 warns of its own intrinsics (GCC bug 105593).
set(RAPT_ISA_FLAGS_avx512 -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
    $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized$<SEMICOLON>-Wno-maybe-uninitialized>)
set(RAPT_ISA_FLAGS_avx512bf16 ${RAPT_ISA_FLAGS_avx512} -DRAPT_DOT_INSTRUCTION -mavx512bf16)

function(rapt_add_kernels target)
  set(folders ${ARGN})
  list(TRANSFORM folders PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ REGEX "^[^/]")
  set_property(TARGET ${target} APPEND PROPERTY RAPT_KERNEL_FOLDERS ${folders})
  foreach(isa ${RAPT_ISAS})
    set(sources)
    foreach(folder ${folders})
      if(EXISTS ${folder}/${isa}.cc)
        list(APPEND sources ${folder}/${isa}.cc)
      endif()
    endforeach()
    if(NOT sources)
      continue()
    endif()
    target_sources(${target} PRIVATE ${sources})
    set(flags ${RAPT_KERNEL_FLAGS} ${RAPT_ISA_FLAGS_${isa}} -DRAPT_ISA=${isa})
    if(NOT isa STREQUAL "scalar")
      # The undefined-behaviour sanitizer sees the same bodies in the scalar objects; here it would
      # triple the time to compile.
      list(APPEND flags -fno-sanitize=undefined)
    endif()
    set_source_files_properties(${sources} TARGET_DIRECTORY ${target} PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()
