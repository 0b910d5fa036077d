#pragma once
/// \file
/// faiss, the reference: a module that is opened when a measurement asks for it, so that ivf itself needs no faiss.

#include <memory>

#include "bench/engine.h"

namespace ivf::bench {

/// What the module exports.
using FaissModuleVersion = const char*();
using FaissModuleMake = AdoptingEngine*(const IndexSettings*);
inline constexpr const char* faiss_module_file = "ivf_faiss.so";
inline constexpr const char* faiss_module_version_symbol = "ivf_faiss_module_version";
inline constexpr const char* faiss_module_make_symbol = "ivf_faiss_module_make";

/// Throws Error(misuse) when there is no module (see ivf::open_module), Error(failed) when it is of no use.
void require_faiss_module();

/// An IVF-Flat index of faiss-cpu. Throws like require_faiss_module().
std::unique_ptr<AdoptingEngine> make_faiss_engine(const IndexSettings& settings);

}  // namespace ivf::bench
