# Installs rapt from BUILD_DIR below WORK_DIR, then builds and runs programs that find it there: in
# C++ and in C by find_package, in C by pkg-config.
file(REMOVE_RECURSE ${WORK_DIR})
set(prefix ${WORK_DIR}/prefix)

function(execute)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

execute(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
# The program with its manual and completions, and the model where it looks for one.
if(PROGRAM)
  foreach(file bin/rapt share/man/man1/rapt.1 share/bash-completion/completions/rapt
          share/zsh/site-functions/_rapt share/fish/vendor_completions.d/rapt.fish)
    if(NOT EXISTS ${prefix}/${file})
      message(FATAL_ERROR "expected ${file} to be installed")
    endif()
  endforeach()
  unset(ENV{RAPT_MODEL})
  if(MODEL)
    execute(${prefix}/bin/rapt info)
  endif()
endif()
# What rapt alone uses must not be asked of who uses rapt.
file(GLOB_RECURSE config ${prefix}/rapt-*.cmake)
foreach(file ${config})
  file(STRINGS ${file} leaks REGEX "nlohmann|CLI11")
  if(leaks)
    message(FATAL_ERROR "${file}: expected no private dependency, got ${leaks}")
  endif()
endforeach()
execute(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/build -G ${GENERATOR}
        -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release
        -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
execute(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
execute(${WORK_DIR}/build/outside)

set(sources ${SOURCE_DIR}/tests/c/c_abi.c ${SOURCE_DIR}/examples/c_attention.c)
execute(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/c -B ${WORK_DIR}/build_c -G ${GENERATOR}
        -DCMAKE_C_COMPILER=${C_COMPILER} -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release
        -DSOURCE_DIR=${SOURCE_DIR})
execute(${CMAKE_COMMAND} --build ${WORK_DIR}/build_c)
execute(${WORK_DIR}/build_c/c_abi)
execute(${WORK_DIR}/build_c/c_attention)

file(GLOB_RECURSE pc ${prefix}/rapt.pc)
cmake_path(GET pc PARENT_PATH pc_dir)
set(ENV{PKG_CONFIG_PATH} ${pc_dir})
execute_process(COMMAND ${PKG_CONFIG} --cflags --libs rapt OUTPUT_VARIABLE flags
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${PKG_CONFIG} --modversion rapt OUTPUT_VARIABLE version
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags UNIX_COMMAND "${flags}")
if(SHARED)  # is found where it was installed, not on the system
  file(GLOB_RECURSE library ${prefix}/librapt.so)
  cmake_path(GET library PARENT_PATH library_dir)
  list(APPEND flags -Wl,-rpath,${library_dir})
endif()
foreach(source ${sources})
  execute(${C_COMPILER} -std=c11 -Wall -Wextra -pedantic -Werror ${source} -o ${WORK_DIR}/by_pkg_config
          ${flags} -pthread -lm)
  execute(${WORK_DIR}/by_pkg_config)
endforeach()
execute_process(COMMAND ${WORK_DIR}/by_pkg_config OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
if(NOT said MATCHES "^rapt ${version}:")
  message(FATAL_ERROR "expected rapt.h to have version ${version}, got ${said}")
endif()
