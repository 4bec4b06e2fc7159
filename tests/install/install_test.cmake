# Installs rapt from BUILD_DIR below WORK_DIR, then builds and runs a program that finds it there.
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
