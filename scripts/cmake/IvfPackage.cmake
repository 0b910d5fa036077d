# Debian packages: `cpack` in a build folder makes them (scripts/check-package.sh tests them).
#
#   ivf          the program, its completions and manual pages
#   ivf-torch    the module of --device and --backend torch, when it was built; LibTorch is many times as large as the rest
#   ivf-faiss    the module of `ivf bench --library faiss`, when it was built
#   libivf-dev   the library, its headers and find_package(ivf)
#
# What a package needs of other packages is read from its programs (dpkg-shlibdeps).
set(IVF_PACKAGE_MAINTAINER "The ivf authors <maintainers@ivf.invalid>" CACHE STRING "Who answers for the packages: Name <address>")
set(IVF_PACKAGE_RELEASE 1 CACHE STRING "Counts packages of one version of ivf")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ivf)
set(CPACK_PACKAGE_VENDOR "The ivf authors")
set(CPACK_PACKAGE_CONTACT ${IVF_PACKAGE_MAINTAINER})
# Each package has a first line of its own; this one would stand before it.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_COMPONENTS_ALL ivf libivf-dev)
foreach(module ivf-torch ivf-faiss)
  string(REPLACE - _ target ${module})
  if(TARGET ${target})
    list(APPEND CPACK_COMPONENTS_ALL ${module})
  endif()
endforeach()
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${IVF_PACKAGE_RELEASE})
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
foreach(component ${CPACK_COMPONENTS_ALL})
  string(TOUPPER ${component} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${component})
endforeach()

set(same_version "ivf (= ${PROJECT_VERSION}-${IVF_PACKAGE_RELEASE})")
set(CPACK_DEBIAN_IVF_PACKAGE_SUGGESTS "ivf-torch, ivf-faiss")
set(CPACK_DEBIAN_IVF_DESCRIPTION "exact and inverted-file vector search
Command-line toolkit for nearest-neighbour search in large sets of vectors,
with flat and IVF-Flat indexes for squared L2, inner product and cosine.
Results are the same bits on any processor, device and number of threads,
and indexes are files that survive crashes.")
set(CPACK_DEBIAN_IVF-TORCH_PACKAGE_DEPENDS "${same_version}")
set(CPACK_DEBIAN_IVF-TORCH_DESCRIPTION "devices of LibTorch for ivf
The module that ivf opens for --device cuda, rocm and dml, and for
--backend torch. Which devices there are depends on the LibTorch that is
installed; Debian's has the processor only.")
set(CPACK_DEBIAN_IVF-FAISS_PACKAGE_DEPENDS "${same_version}")
set(CPACK_DEBIAN_IVF-FAISS_DESCRIPTION "faiss side by side in the measurements of ivf
The module that ivf opens for `ivf bench --library faiss`.")
# A static library: nothing in it can be asked for the libraries that it needs.
set(CPACK_DEBIAN_LIBIVF-DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_LIBIVF-DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_LIBIVF-DEV_PACKAGE_DEPENDS "libfmt-dev, libxxhash-dev, libzstd-dev, pkg-config")
set(CPACK_DEBIAN_LIBIVF-DEV_DESCRIPTION "exact and inverted-file vector search, library
The static library, headers and CMake package of ivf: IndexFlat and
IndexIVFFlat in C++20.")

set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/IvfPackageFiles.cmake)
set(CPACK_IVF_SOURCE_DIR ${PROJECT_SOURCE_DIR})
include(CPack)
