// Writing an index as faiss does.

#include "interchange/faiss_layout.h"
#include "ivf/format/output_file.hpp"
#include "ivf/interchange.hpp"

namespace ivf {
namespace {

class FaissWriter {
 public:
  FaissWriter(const StoredIndex& index, const std::string& path) : index_(index), out_(path) {}

  FaissReport write() {
    FaissReport report{"IndexIVFFlat", index_.metric(), index_.dim(), index_.nlist(), index_.rows()};
    if (index_.flat()) {
      report.type = write_flat();
    } else {
      write_ivf();
    }
    out_.commit();
    return report;
  }

 private:
  template <class T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    out_.write(&value, sizeof value);
  }
  void put(MatrixView rows) { out_.write(rows.data, rows.rows * rows.dim * sizeof(float)); }
  void put(std::span<const idx_t> ids) { out_.write(ids.data(), ids.size_bytes()); }

  bool inner_product() const noexcept { return index_.metric() != Metric::l2; }

  /// What every index of faiss begins with.
  void put_header(std::uint32_t code, std::uint64_t rows) {
    constexpr std::int64_t no_meaning = 1 << 20;
    constexpr std::uint8_t trained = 1;
    put(code);
    put(static_cast<std::int32_t>(index_.dim()));
    put(static_cast<std::int64_t>(rows));
    put(no_meaning);
    put(no_meaning);
    put(trained);
    put(inner_product() ? detail::faiss_inner_product : detail::faiss_l2);
  }

  /// A flat index up to its values.
  void put_flat_header(std::uint64_t rows) {
    put_header(inner_product() ? detail::fourcc("IxFI") : detail::fourcc("IxF2"), rows);
    put(rows * index_.dim());
  }

  bool numbered() const {
    idx_t next = 0;
    bool numbered = true;
    index_.visit_list_ids(0, [&](std::span<const idx_t> ids) {
      for (const idx_t id : ids) numbered &= id == next++;
    });
    return numbered;
  }

  std::string write_flat() {
    const bool mapped = !numbered();
    if (mapped) put_header(detail::fourcc("IxM2"), index_.rows());
    put_flat_header(index_.rows());
    index_.visit_rows([&](std::span<const idx_t>, MatrixView rows) { put(rows); });
    if (mapped) {
      put(index_.rows());
      index_.visit_list_ids(0, [&](std::span<const idx_t> ids) { put(ids); });
      return "IndexIDMap2";
    }
    return inner_product() ? "IndexFlatIP" : "IndexFlatL2";
  }

  void write_ivf() {
    constexpr std::uint64_t nprobe = 1;
    constexpr std::uint8_t no_direct_map = 0;
    put_header(detail::fourcc("IwFl"), index_.rows());
    put(static_cast<std::uint64_t>(index_.nlist()));
    put(nprobe);
    put_flat_header(index_.nlist());
    index_.visit_centroids([&](MatrixView centroids) { put(centroids); });
    put(no_direct_map);
    put(std::uint64_t{0});  // Of the direct map.
    write_list_sizes();
    for (std::size_t l = 0; l < index_.nlist(); ++l) {
      index_.visit_list(l, [&](std::span<const idx_t>, MatrixView rows) { put(rows); });
      index_.visit_list_ids(l, [&](std::span<const idx_t> ids) { put(ids); });
    }
  }

  std::uint64_t list_size(std::size_t list) const { return index_.offsets()[list + 1] - index_.offsets()[list]; }

  void write_list_sizes() {
    const std::size_t nlist = index_.nlist();
    put(detail::fourcc("ilar"));
    put(static_cast<std::uint64_t>(nlist));
    put(static_cast<std::uint64_t>(index_.dim() * sizeof(float)));
    std::size_t filled = 0;
    for (std::size_t l = 0; l < nlist; ++l) filled += list_size(l) > 0;
    // faiss's own rule, so that the bytes are those that it would write.
    if (filled > nlist / 2) {
      put(detail::fourcc("full"));
      put(static_cast<std::uint64_t>(nlist));
      for (std::size_t l = 0; l < nlist; ++l) put(list_size(l));
    } else {
      put(detail::fourcc("sprs"));
      put(static_cast<std::uint64_t>(2 * filled));
      for (std::size_t l = 0; l < nlist; ++l) {
        if (list_size(l) == 0) continue;
        put(static_cast<std::uint64_t>(l));
        put(list_size(l));
      }
    }
  }

  const StoredIndex& index_;
  format::OutputFile out_;
};

}  // namespace

FaissReport export_faiss(const std::string& index, const std::string& path, const RunOptions& options) {
  const StoredIndex stored(index, options);
  return FaissWriter(stored, path).write();
}

}  // namespace ivf
