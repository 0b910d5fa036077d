#include "bench/faiss_module.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "ivf/error.hpp"

namespace ivf::bench {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> places() {
  if (const char* directory = std::getenv("IVF_MODULE_DIR"); directory && *directory) return {directory};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return {};
  return {program.parent_path(), program.parent_path() / IVF_MODULE_DIR_FROM_BIN};
}

std::string find_module() {
  std::string looked;
  for (const fs::path& place : places()) {
    const fs::path file = place / faiss_module_file;
    if (::access(file.c_str(), R_OK) == 0) return file;
    looked += fmt::format("{}{}", looked.empty() ? "" : ", ", place.lexically_normal().string());
  }
  throw Error(ErrorKind::misuse, fmt::format("faiss is not part of this build: there is no {} in {}; install "
                                             "libfaiss-dev, run cmake again and build",
                                             faiss_module_file, looked));
}

std::string loader_message() {
  const char* message = dlerror();
  return message ? message : "unknown reason";
}

template <class Function>
Function* symbol(void* module, const char* name, const std::string& file) {
  if (void* found = dlsym(module, name)) return reinterpret_cast<Function*>(found);
  throw Error(ErrorKind::failed, fmt::format("{}: is no faiss module of ivf: {}", file, loader_message()));
}

/// The module stays open until the process ends: it runs threads of its own.
FaissModuleMake* open_module() {
  const std::string file = find_module();
  void* module = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module) {
    throw Error(ErrorKind::failed, fmt::format("{}: cannot be opened: {}", file, loader_message()));
  }
  const char* version = symbol<FaissModuleVersion>(module, faiss_module_version_symbol, file)();
  if (std::strcmp(version, IVF_MODULE_VERSION) != 0) {
    throw Error(ErrorKind::failed, fmt::format("{}: is of ivf {}, this is ivf {}; build and install both together",
                                               file, version, IVF_MODULE_VERSION));
  }
  return symbol<FaissModuleMake>(module, faiss_module_make_symbol, file);
}

}  // namespace

void require_faiss_module() { find_module(); }

std::unique_ptr<AdoptingEngine> make_faiss_engine(const IndexSettings& settings) {
  static FaissModuleMake* const make = open_module();
  return std::unique_ptr<AdoptingEngine>(make(&settings));
}

}  // namespace ivf::bench
