# Writes the header that says which version, commit and compiler a program is made of. Run at build time, so that the
# commit is the one that is compiled; the file is touched only when it changes.
set(commit unknown)
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE_DIR} rev-parse --short=12 HEAD
                  OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
  if(status EQUAL 0)
    set(commit ${found})
    execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE_DIR} diff --quiet HEAD -- ERROR_QUIET RESULT_VARIABLE changed)
    if(changed)
      string(APPEND commit "+")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#pragma once
#define IVF_BUILD_VERSION \"${VERSION}\"
#define IVF_BUILD_COMMIT \"${commit}\"
#define IVF_BUILD_COMPILER \"${COMPILER}\"
")
