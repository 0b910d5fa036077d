// Data sets of HDF5 files, read in slabs.

#include <algorithm>
#include <array>
#include <limits>

#include "errors.h"
#include "formats.h"
#include "hdf5_library.h"
#include "row_shape.h"
#include "stored_reader.h"

namespace ivf::datasets {

namespace {

/// Memory for one slab.
constexpr std::uint64_t kSlabBytes = std::uint64_t{4} << 20;
/// Up to here a whole band of chunks is read at once; a larger one is kept in the library's cache instead.
constexpr std::uint64_t kMaxBandSlab = std::uint64_t{16} << 20;
constexpr std::uint64_t kDefaultCache = std::uint64_t{64} << 20;
/// The library has to hold a compressed chunk whole. Beyond this the file is refused rather than memory filled.
constexpr std::uint64_t kMaxBand = std::uint64_t{1} << 30;

/// How a stored type is read: the library widens or re-orders to `memory`, our converters do the rest.
struct TypePlan {
  hid_t memory = H5I_INVALID_HID;  ///< A constant of the library, not owned.
  Element element = Element::f32;
  Element reported = Element::f32;
  bool wide_unsigned = false;  ///< uint64, of which only the lower half fits idx_t.
};

TypePlan plan_integer(std::size_t size, bool is_signed) {
  if (size == 1 && is_signed) return {H5T_NATIVE_INT8, Element::i8, Element::i8};
  if (size == 1) return {H5T_NATIVE_UINT8, Element::u8, Element::u8};
  if (size < 4 || (size == 4 && is_signed)) return {H5T_NATIVE_INT32, Element::i32, Element::i32};
  if (size < 8 || is_signed) return {H5T_NATIVE_INT64, Element::i64, Element::i64};
  return {H5T_NATIVE_UINT64, Element::i64, Element::i64, true};
}

TypePlan plan_type(hid_t dataset, const std::string& name) {
  constexpr std::size_t kMaxInteger = 8;
  constexpr std::size_t kMaxFloat = 16;
  const Hdf5Id type(H5Dget_type(dataset));
  const std::size_t size = type ? H5Tget_size(type.get()) : 0;
  const H5T_class_t kind = type ? H5Tget_class(type.get()) : H5T_NO_CLASS;
  if (kind == H5T_INTEGER && size <= kMaxInteger) return plan_integer(size, H5Tget_sign(type.get()) == H5T_SGN_2);
  if (kind == H5T_FLOAT && size <= kMaxFloat) {
    if (size == 2) return {H5T_NATIVE_FLOAT, Element::f32, Element::f16};
    if (size <= 4) return {H5T_NATIVE_FLOAT, Element::f32, Element::f32};
    return {H5T_NATIVE_DOUBLE, Element::f64, Element::f64};
  }
  throw misuse("{}: holds no plain numbers (integers of at most 64 bits or floating point); choose another data set",
               name);
}

std::vector<std::uint64_t> axes_of(hid_t dataset, const std::string& name) {
  const Hdf5Id space(H5Dget_space(dataset));
  const int rank = space ? H5Sget_simple_extent_ndims(space.get()) : -1;
  if (rank < 0) throw corrupt("{}: its shape cannot be read: {}", name, hdf5_reason());
  std::vector<hsize_t> axes(static_cast<std::size_t>(rank));
  if (rank > 0) H5Sget_simple_extent_dims(space.get(), axes.data(), nullptr);
  return {axes.begin(), axes.end()};
}

class Hdf5Reader final : public StoredReader {
 public:
  Hdf5Reader(const Spec& spec, const ReadOptions& options) : StoredReader({}) {
    const Hdf5Guard guard;
    const std::string dataset = spec.dataset.empty() ? hdf5_default_dataset(options.role) : spec.dataset;
    name_ = spec.path + ":" + dataset;
    file_ = hdf5_open_file(spec.path);
    dataset_ = hdf5_open_dataset(file_.get(), spec.path, dataset, kDefaultCache);
    plan_ = plan_type(dataset_.get(), name_);
    const auto axes = axes_of(dataset_.get(), name_);
    const RowShape shape = row_shape(axes, plan_.reported, name_);
    rank_ = axes.size();
    one_row_ = rank_ == 1 && shape.dim > 1;
    row_bytes_ = shape.dim * element_size(plan_.element);
    checked_product(shape.rows, row_bytes_, name_);
    set_shape({shape.dim, shape.rows, plan_.element, plan_.reported, false}, options);
    all_rows_ = shape.rows;
    plan_slabs(spec.path, dataset);
  }

  Hdf5Reader(const Hdf5Reader&) = delete;
  Hdf5Reader& operator=(const Hdf5Reader&) = delete;

  ~Hdf5Reader() override {
    const Hdf5Guard guard;
    dataset_.reset();
    file_.reset();
  }

 private:
  /// Slabs end where chunks end, so that no chunk is decompressed twice.
  void plan_slabs(const std::string& path, const std::string& dataset) {
    slab_rows_ = std::max<std::uint64_t>(1, kSlabBytes / row_bytes_);
    const Hdf5Id plist(H5Dget_create_plist(dataset_.get()));
    if (H5Pget_layout(plist.get()) != H5D_CHUNKED) return;
    std::array<hsize_t, 2> chunk{1, 1};
    if (H5Pget_chunk(plist.get(), static_cast<int>(rank_), chunk.data()) < 0) {
      throw corrupt("{}: its chunks cannot be read: {}", name_, hdf5_reason());
    }
    const std::uint64_t chunk_rows = one_row_ ? 1 : chunk[0];
    const std::uint64_t chunk_columns = one_row_ ? chunk[0] : chunk[1];
    const std::uint64_t across = (dim() + chunk_columns - 1) / chunk_columns;
    const std::uint64_t band =
        checked_product(checked_product(chunk_rows, checked_product(across, chunk_columns, name_), name_),
                        element_size(plan_.element), name_);
    const bool filtered = H5Pget_nfilters(plist.get()) > 0;
    if (filtered && band > kMaxBand) {
      throw misuse(
          "{}: its compressed chunks take {} bytes of memory, more than {}; store it in smaller ones (h5repack -l "
          "CHUNK=1024x{})",
          name_, band, kMaxBand, dim());
    }
    if (band <= kMaxBandSlab) {
      slab_rows_ = std::max<std::uint64_t>(1, slab_rows_ / chunk_rows) * chunk_rows;
    } else if (filtered && band > kDefaultCache) {
      dataset_ = hdf5_open_dataset(file_.get(), path, dataset, static_cast<std::size_t>(band));
    }
  }

  Block next_block(std::size_t max_rows) override {
    if (at_ == held_) load_slab();
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(max_rows, held_ - at_));
    const std::byte* first = slab_.data() + at_ * row_bytes_;
    at_ += count;
    return {first, count, row_bytes_};
  }

  void load_slab() {
    const Hdf5Guard guard;
    const std::uint64_t row = next_row();
    const std::uint64_t left = std::min(all_rows_, row + rows_left()) - row;
    held_ = std::min(slab_rows_ - row % slab_rows_, left);
    at_ = 0;
    slab_.resize(static_cast<std::size_t>(held_ * row_bytes_));
    const std::array<hsize_t, 2> start{one_row_ ? 0 : row, 0};
    const std::array<hsize_t, 2> count{one_row_ ? dim() : held_, dim()};
    const Hdf5Id file_space(H5Dget_space(dataset_.get()));
    const Hdf5Id memory_space(H5Screate_simple(static_cast<int>(rank_), count.data(), nullptr));
    if (H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
        H5Dread(dataset_.get(), plan_.memory, memory_space.get(), file_space.get(), H5P_DEFAULT, slab_.data()) < 0) {
      throw corrupt("{}: rows {} to {} cannot be read: {}", name_, row, row + held_ - 1, hdf5_reason());
    }
    if (plan_.wide_unsigned) check_unsigned(row);
  }

  /// uint64 values above 2^63 - 1 would turn negative as ids.
  void check_unsigned(std::uint64_t row) const {
    const auto* values = reinterpret_cast<const std::int64_t*>(slab_.data());
    const std::size_t count = slab_.size() / sizeof(std::int64_t);
    const auto* found = std::find_if(values, values + count, [](std::int64_t value) { return value < 0; });
    if (found == values + count) return;
    const auto index = static_cast<std::size_t>(found - values);
    throw misuse("{}: row {}, column {}: expected at most 2^63 - 1, found {}", name_, row + index / dim(),
                 index % dim(), static_cast<std::uint64_t>(*found));
  }

  Hdf5Id file_;
  Hdf5Id dataset_;
  TypePlan plan_;
  std::size_t rank_ = 2;
  bool one_row_ = false;  ///< A one-dimensional data set that is a single vector.
  std::size_t row_bytes_ = 0;
  std::uint64_t all_rows_ = 0;
  std::uint64_t slab_rows_ = 1;
  std::vector<std::byte> slab_;
  std::uint64_t held_ = 0;  ///< Rows in the slab,
  std::uint64_t at_ = 0;    ///< of which so many were handed out.
};

}  // namespace

std::unique_ptr<Reader> open_hdf5(const Spec& spec, const ReadOptions& options) {
  return std::make_unique<Hdf5Reader>(spec, options);
}

std::optional<Metric> stored_metric(const std::string& text) {
  const Spec spec = parse_spec(text);
  if (spec.format != Format::hdf5) return std::nullopt;
  const Hdf5Guard guard;
  const Hdf5Id file = hdf5_open_file(spec.path);
  const std::string distance = hdf5_root_attribute(file.get(), spec.path, "distance");
  if (distance.empty()) return std::nullopt;
  if (distance == "euclidean" || distance == "l2" || distance == "sqeuclidean") return Metric::l2;
  if (distance == "angular" || distance == "cosine") return Metric::cosine;
  if (distance == "dot" || distance == "ip" || distance == "inner_product" || distance == "innerproduct")
    return Metric::ip;
  throw misuse("{}: its attribute 'distance' is '{}'; known are euclidean, angular and dot; name the metric yourself",
               spec.path, distance);
}

}  // namespace ivf::datasets
