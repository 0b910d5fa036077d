# What every target of the project is compiled with.
add_library(ivf_options INTERFACE)
target_compile_features(ivf_options INTERFACE cxx_std_20)
target_compile_options(ivf_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  # The canonical distance is a fixed sequence of roundings: a compiler must never fuse or re-order one of its own accord.
  -ffp-contract=off
  -fstack-protector-strong
  $<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
# --as-needed: HDF5's configuration names libraries (curl, OpenSSL) that nothing here calls, and each costs start-up time.
target_link_options(ivf_options INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)
# Several files compiled as one (CMAKE_UNITY_BUILD): g++ then takes their unnamed namespaces for those of a header.
target_compile_options(ivf_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
if(IVF_WERROR)
  target_compile_options(ivf_options INTERFACE -Werror)
endif()
if(IVF_SANITIZE)
  target_compile_options(ivf_options INTERFACE -fsanitize=${IVF_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(ivf_options INTERFACE -fsanitize=${IVF_SANITIZE})
  # For what holds no arithmetic on others' data. A null pointer that is used ends the program without a check before each
  # use, which with the two others takes the compiler as long as all the rest.
  set(IVF_SANITIZE_LIGHTLY -O0 -fno-sanitize=null,alignment,vptr)
endif()
