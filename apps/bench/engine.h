#pragma once
/// \file
/// What is measured: a library with an index in it, behind one small interface.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ivf/index.hpp"

namespace ivf::bench {

/// What every search of a measurement is asked for.
struct SearchSettings {
  std::size_t k = 10;
  std::size_t nprobe = 1;
  std::uint64_t max_codes = 0;
  SearchMode mode = SearchMode::automatic;
  bool profile = false;  ///< Have a device time its phases.
};

/// Names and versions as records give them.
struct LibraryInfo {
  std::string library;          ///< "ivf", "faiss_cpu".
  std::string backend;          ///< "CPU", "CUDA 13.0", "ROCm 6.4", "DirectML", "faiss-cpu".
  std::string version;          ///< Of the library.
  std::string compile_options;  ///< As far as the library tells; else empty.
  unsigned threads = 0;
  std::string kernels;             ///< Of ivf: "native" or "torch"; else empty.
  std::string device = "cpu";      ///< As --device names it.
  std::string device_name;         ///< Its model; empty for the CPU.
  std::uint64_t device_bytes = 0;  ///< Its memory; 0: the CPU's, or not known.
  std::string torch_version;       ///< Empty: LibTorch had no part in it.
};

/// What an index is made with.
struct IndexSettings {
  std::size_t dim = 0;
  std::size_t nlist = 1;
  Metric metric = Metric::l2;
  std::uint64_t seed = 0;
  unsigned threads = 1;
};

/// What searches are timed of.
class Searcher {
 public:
  Searcher() = default;
  Searcher(const Searcher&) = delete;
  Searcher& operator=(const Searcher&) = delete;
  virtual ~Searcher() = default;

  virtual LibraryInfo info() const = 0;
  virtual SearchResult search(MatrixView queries, const SearchSettings& settings) const = 0;
};

/// One library. train() and add() are called once and in this order; or adopt() in place of both. Rows of a cosine
/// index are normalised by the engine.
class Engine : public Searcher {
 public:
  virtual void train(MatrixView rows) = 0;
  virtual void add(MatrixView rows) = 0;
  /// What a device's memory holds more than before the engine was made; nothing for the CPU, or when not known.
  virtual std::optional<std::uint64_t> device_memory_in_use() const { return std::nullopt; }
};

/// An engine that can be given the lists of another index in place of training its own.
class AdoptingEngine : public Engine {
 public:
  /// Takes the centroids alone; add() then fills the lists.
  virtual void set_centroids(std::span<const float> centroids) = 0;
  /// Appends rows to one list.
  virtual void add_to_list(std::size_t list, std::span<const idx_t> ids, std::span<const float> rows) = 0;
};

}  // namespace ivf::bench
