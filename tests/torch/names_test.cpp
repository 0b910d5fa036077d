// How devices and builds of LibTorch are named. What a LibTorch for another vendor says of itself is taken from its
// sources: no such machine is needed.

#include "backends.h"
#include "backends/torch/build_info.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;
using detail::torch_backend::BuildInfo;

namespace {

const char* const cuda_13 =
    "PyTorch built with:\n"
    "  - GCC 13.3\n"
    "  - C++ Version: 201703\n"
    "  - Intel(R) MKL-DNN v3.7.1 (Git Hash 8d263e693366ef8db40acc569cc7d8edf644556d)\n"
    "  - OpenMP 201511 (a.k.a. OpenMP 4.5)\n"
    "  - CPU capability usage: AVX512\n"
    "  - CUDA Runtime 13.0\n"
    "  - NVCC architecture flags: -gencode;arch=compute_75,code=sm_75;-gencode;arch=compute_90,code=sm_90\n"
    "  - CuDNN 91.3\n"
    "  - Build settings: BLAS_INFO=mkl, CUDA_VERSION=13.0, TORCH_VERSION=2.11.0, USE_CUDA=ON, USE_ROCM=OFF, \n";

const char* const hip_6 =
    "PyTorch built with:\n"
    "  - GCC 11.4\n"
    "  - HIP Runtime 6.4.43482\n"
    "  - MIOpen 3.4.0\n"
    "  - Magma 2.9.0\n"
    "  - Build settings: BLAS_INFO=mkl, TORCH_VERSION=2.9.0, USE_CUDA=OFF, USE_ROCM=ON, USE_ROCM_KERNEL_ASSERT=OFF, \n";

const char* const cpu_only =
    "PyTorch built with:\n"
    "  - GCC 13.3\n"
    "  - OpenMP 201511 (a.k.a. OpenMP 4.5)\n"
    "  - CPU capability usage: AVX2\n"
    "  - Build settings: BLAS_INFO=mkl, TORCH_VERSION=2.11.0+cpu, USE_CUDA=0, USE_CUDNN=OFF, USE_ROCM=OFF, \n";

/// What Debian 12's package says.
const char* const debian_1_13 =
    "PyTorch built with:\n"
    "  - GCC 12.2\n"
    "  - C++ Version: 201402\n"
    "  - Intel(R) MKL-DNN v2.7.3 (Git Hash N/A)\n"
    "  - OpenMP 201511 (a.k.a. OpenMP 4.5)\n"
    "  - NNPACK is enabled\n"
    "  - CPU capability usage: NO AVX\n"
    "  - Build settings: BLAS_INFO=generic, BUILD_TYPE=None, CXX_COMPILER=/usr/bin/c++, TORCH_VERSION=1.13.1, "
    "USE_CUDA=OFF, USE_CUDNN=OFF, USE_ROCM=OFF, \n";

/// Whether this program came with LibTorch, before any test has asked for a device.
const bool torch_at_start = read_file("/proc/self/maps").find("libtorch") != std::string::npos;

}  // namespace

TEST_CASE("this program does not link LibTorch, which is loaded when it is used") {
  CHECK_FALSE(torch_at_start);
  if (!has_torch_module()) return;
  torch_info();
  CHECK(read_file("/proc/self/maps").find("libtorch") != std::string::npos);
}

TEST_CASE("a LibTorch's own words tell which runtime it has") {
  const auto cuda = BuildInfo::parse(cuda_13);
  CHECK((cuda.runtime == BuildInfo::Runtime::cuda));
  CHECK(cuda.version == "13.0");
  CHECK(cuda.describe() == "CUDA 13.0");
  CHECK(cuda.accelerator() == "cuda");

  const auto hip = BuildInfo::parse(hip_6);
  CHECK((hip.runtime == BuildInfo::Runtime::hip));
  CHECK(hip.version == "6.4.43482");
  CHECK(hip.describe() == "HIP 6.4.43482");
  CHECK(hip.accelerator() == "rocm");

  for (const char* config : {cpu_only, debian_1_13, "", "CUDA Runtime", "HIP Runtime ", "  - CUDA Runtime unknown\n"}) {
    INFO(config);
    const auto none = BuildInfo::parse(config);
    CHECK((none.runtime == BuildInfo::Runtime::none));
    CHECK(none.version.empty());
    CHECK(none.describe().empty());
    CHECK(none.accelerator().empty());
  }
}

TEST_CASE("a HIP build that speaks of CUDA too is a HIP build") {
  const auto both = BuildInfo::parse("  - CUDA Runtime 12.1 (emulated)\n  - HIP Runtime 6.2.41133\n");
  CHECK(both.describe() == "HIP 6.2.41133");
  CHECK(BuildInfo::parse("  - HIP Runtime 6.2.41133").version == "6.2.41133");
}

TEST_CASE("a build that was made with one CUDA and runs with another names the one that runs") {
  const auto info = BuildInfo::parse("  - CUDA Runtime 12.8\n  - Built with CUDA Runtime 12.6\n");
  CHECK(info.describe() == "CUDA 12.8");
}

TEST_CASE("the LibTorch that is here describes itself") {
  if (!has_torch_module()) {
    WARN("no LibTorch module here");
    return;
  }
  const TorchInfo info = torch_info();
  CHECK_THAT(info.config, Contains("PyTorch built with"));
  CHECK(BuildInfo::parse(info.config).describe() == info.runtime);
  CHECK_THAT(info.version, Contains("."));
}

TEST_CASE("names of devices are taken apart") {
  const auto parsed = [](const char* text) {
    const DeviceName name = DeviceName::parse(text);
    return name.kind + (name.index ? " " + std::to_string(*name.index) : "") + (name.all ? " all" : "");
  };
  CHECK(parsed("cpu") == "cpu");
  CHECK(parsed("cuda") == "cuda");
  CHECK(parsed("cuda:0") == "cuda 0");
  CHECK(parsed("rocm:127") == "rocm 127");
  CHECK(parsed("dml:3") == "dml 3");
  CHECK(parsed("cuda:all") == "cuda all");
  CHECK(parsed("rocm:all") == "rocm all");
}

TEST_CASE("what is no name of a device is refused with what would be one") {
  const auto refusal = [](const char* text) { return error_of([&] { DeviceName::parse(text); }); };
  for (const char* text : {"", "gpu", "CUDA", "cuda0", " cuda", "cuda ", "privateuseone:0", "hip", ":0"}) {
    CHECK(refusal(text) == "misuse: expected a device of cpu, cuda[:N|:all], rocm[:N|:all] or dml[:N], found '" +
                               std::string(text) + "'");
  }
  CHECK_THAT(refusal("cpu:0"), Contains("misuse: expected cpu without a number, found 'cpu:0'"));
  for (const char* text : {"cuda:", "cuda:-1", "cuda:128", "cuda:1.5", "cuda:0x1", "dml:1 ",
                           "rocm:99999999999999999999", "cuda:+1", "cuda:0:1", "cuda:ALL", "dml:all"}) {
    CHECK(refusal(text) ==
          "misuse: expected a device number of 0 to 127 after the colon, found '" + std::string(text) + "'");
  }
}
