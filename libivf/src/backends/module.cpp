// Parts of the project that are loaded when they are used.

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "ivf/device.hpp"
#include "ivf/error.hpp"

namespace ivf {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> places() {
  if (const char* directory = std::getenv("IVF_MODULE_DIR"); directory && *directory) return {directory};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return {};
  return {program.parent_path(), program.parent_path() / IVF_MODULE_DIR_FROM_BIN};
}

std::string loader_message() {
  const char* message = dlerror();
  return message ? message : "unknown reason";
}

void* symbol_of(void* module, const char* name, const std::string& path) {
  if (void* found = dlsym(module, name)) return found;
  throw Error(ErrorKind::failed, fmt::format("{}: expected a module of ivf, found a library without it: {}; build and "
                                             "install the module again",
                                             path, loader_message()));
}

}  // namespace

std::string find_module(const std::string& file) {
  for (const fs::path& place : places()) {
    const fs::path path = place / file;
    if (::access(path.c_str(), R_OK) == 0) return path;
  }
  return {};
}

void* open_module(const std::string& file, const char* version_symbol, const char* symbol, const std::string& remedy) {
  const std::string path = find_module(file);
  if (path.empty()) {
    std::string looked;
    for (const fs::path& place : places()) {
      looked += fmt::format("{}{}", looked.empty() ? "" : ", ", place.lexically_normal().string());
    }
    throw Error(ErrorKind::misuse, fmt::format("expected the module {} in {}, found none; {}", file, looked, remedy));
  }
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module) throw Error(ErrorKind::failed, fmt::format("{}: cannot be opened: {}", path, loader_message()));
  const auto version = reinterpret_cast<const char* (*)()>(symbol_of(module, version_symbol, path));
  if (std::strcmp(version(), IVF_MODULE_VERSION) != 0) {
    throw Error(ErrorKind::failed,
                fmt::format("{}: expected a module of ivf {}, found one of ivf {}; build and install "
                            "both together",
                            path, IVF_MODULE_VERSION, version()));
  }
  return symbol_of(module, symbol, path);
}

}  // namespace ivf
