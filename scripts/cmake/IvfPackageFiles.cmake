# What Debian wants of the files of every package; cpack runs this between installing them and packing them.
# https://www.debian.org/doc/debian-policy/ch-docs.html
if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
  execute_process(COMMAND git -C ${CPACK_IVF_SOURCE_DIR} log -1 --format=%ct OUTPUT_VARIABLE committed
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(committed)
    set(ENV{SOURCE_DATE_EPOCH} ${committed})
  endif()
endif()
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
set(readable OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

function(compress)
  foreach(file ${ARGN})
    execute_process(COMMAND gzip -9nf ${file} COMMAND_ERROR_IS_FATAL ANY)
  endforeach()
endfunction()

file(READ ${CPACK_IVF_SOURCE_DIR}/LICENSE license)
string(REGEX MATCH "Copyright \\(c\\) ([^\n]*)" notice "${license}")
set(holders ${CMAKE_MATCH_1})
string(REGEX REPLACE "^.*Copyright[^\n]*\n\n" "" license "${license}")
string(STRIP "${license}" license)
# A field of several lines: an empty one is a dot.
string(REPLACE "\n\n" "\n.\n" license "${license}")
string(REPLACE "\n" "\n " license "${license}")
set(CPACK_IVF_HOLDERS ${holders})
set(CPACK_IVF_LICENSE "${license}")

foreach(component ${CPACK_COMPONENTS_ALL})
  set(root ${CPACK_TEMPORARY_DIRECTORY}/${component}/usr)
  set(doc ${root}/share/doc/${component})
  configure_file(${CMAKE_CURRENT_LIST_DIR}/copyright.in ${doc}/copyright @ONLY)
  file(CHMOD ${doc}/copyright PERMISSIONS ${readable})
  file(WRITE ${doc}/changelog.Debian "ivf (${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium

  * Packaged by cpack. What has changed: changelog.gz of the package ivf.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
  compress(${doc}/changelog.Debian)
  file(CHMOD ${doc}/changelog.Debian.gz PERMISSIONS ${readable})
  # The licence is in the copyright file.
  file(REMOVE ${doc}/LICENSE)
  if(EXISTS ${doc}/CHANGELOG.md)
    file(RENAME ${doc}/CHANGELOG.md ${doc}/changelog)
    compress(${doc}/changelog)
  endif()
  # Debian's zsh looks for what packages bring in a folder of its own.
  if(EXISTS ${root}/share/zsh/site-functions)
    file(RENAME ${root}/share/zsh/site-functions ${root}/share/zsh/vendor-completions)
  endif()
  file(GLOB pages ${root}/share/man/man*/*)
  compress(${pages})
endforeach()
