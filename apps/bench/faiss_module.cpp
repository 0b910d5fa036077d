#include "bench/faiss_module.h"

namespace ivf::bench {
namespace {

FaissModuleMake* faiss_module() {
  static FaissModuleMake* const make = reinterpret_cast<FaissModuleMake*>(
      open_module(faiss_module_file, faiss_module_version_symbol, faiss_module_make_symbol,
                  "faiss is not part of this build: install libfaiss-dev, run cmake again and build"));
  return make;
}

}  // namespace

void require_faiss_module() { faiss_module(); }

std::unique_ptr<AdoptingEngine> make_faiss_engine(const IndexSettings& settings) {
  return std::unique_ptr<AdoptingEngine>(faiss_module()(&settings));
}

}  // namespace ivf::bench
