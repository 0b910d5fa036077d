// Data sets of HDF5 files, read in slabs.

#include <algorithm>
#include <array>
#include <limits>

#include "errors.h"
#include "formats.h"
#include "hdf5_chunks.h"
#include "hdf5_library.h"
#include "row_shape.h"
#include "stored_reader.h"

namespace ivf::datasets {

namespace {

/// Memory for one slab.
constexpr std::uint64_t kSlabBytes = std::uint64_t{4} << 20;
/// A band of chunks, as many as lie side by side, is held whole. Beyond this the data set is refused
/// rather than memory filled.
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
    dataset_ = hdf5_open_dataset(file_.get(), spec.path, dataset);
    plan_ = plan_type(dataset_.get(), name_);
    const auto axes = axes_of(dataset_.get(), name_);
    const RowShape shape = row_shape(axes, plan_.reported, name_);
    rank_ = axes.size();
    one_row_ = rank_ == 1 && shape.dim > 1;
    row_bytes_ = shape.dim * element_size(plan_.element);
    checked_product(shape.rows, row_bytes_, name_);
    set_shape({shape.dim, shape.rows, plan_.element, plan_.reported, false}, options);
    all_rows_ = shape.rows;
    plan_slabs();
  }

  Hdf5Reader(const Hdf5Reader&) = delete;
  Hdf5Reader& operator=(const Hdf5Reader&) = delete;

  ~Hdf5Reader() override {
    const Hdf5Guard guard;
    chunks_.reset();
    dataset_.reset();
    file_.reset();
  }

 private:
  /// Slabs end where chunks end, so that none is fetched twice.
  void plan_slabs() {
    slab_rows_ = std::max<std::uint64_t>(1, kSlabBytes / row_bytes_);
    const Hdf5Id plist(H5Dget_create_plist(dataset_.get()));
    if (H5Pget_layout(plist.get()) != H5D_CHUNKED) return;
    const ChunkView view = chunk_view(plist.get());
    check_chunks(plist.get(), view);
    hsize_t file_bytes = 0;
    H5Fget_filesize(file_.get(), &file_bytes);
    chunks_ = std::make_unique<Hdf5Chunks>(dataset_.get(), name_, view, plan_.memory, file_bytes);
    slab_rows_ = std::max<std::uint64_t>(1, slab_rows_ / view.chunk_rows) * view.chunk_rows;
  }

  ChunkView chunk_view(hid_t plist) const {
    std::array<hsize_t, 2> chunk{1, 1};
    const int rank = static_cast<int>(rank_);
    if (H5Pget_chunk(plist, rank, chunk.data()) != rank || chunk[0] == 0 || chunk[1] == 0) {
      throw corrupt("{}: its chunks cannot be read: {}", name_, hdf5_reason());
    }
    ChunkView view;
    view.rows = all_rows_;
    view.columns = dim();
    if (rank_ == 2) {
      view.chunk_rows = chunk[0];
      view.chunk_columns = chunk[1];
    } else {
      view.axes = one_row_ ? ChunkView::Axes::columns : ChunkView::Axes::rows;
      (one_row_ ? view.chunk_columns : view.chunk_rows) = chunk[0];
    }
    return view;
  }

  void check_chunks(hid_t plist, const ChunkView& view) const {
    if (!Hdf5Chunks::can_undo(plist)) {
      throw corrupt(
          "{}: is compressed with something else than gzip; no plugins are loaded; store it with gzip "
          "(h5repack -f GZIP=4)",
          name_);
    }
    const Hdf5Id type(H5Dget_type(dataset_.get()));
    const std::uint64_t value = std::max(H5Tget_size(type.get()), element_size(plan_.element));
    const std::uint64_t across = (view.columns + view.chunk_columns - 1) / view.chunk_columns;
    const std::uint64_t width = checked_product(across, view.chunk_columns, name_);
    const std::uint64_t band = checked_product(checked_product(view.chunk_rows, width, name_), value, name_);
    if (band > kMaxBand) {
      throw misuse(
          "{}: its chunks take {} bytes of memory, more than {}; store it in smaller ones (h5repack "
          "-l CHUNK=1024x{})",
          name_, band, kMaxBand, dim());
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
    if (chunks_) {
      chunks_->read(row, held_, slab_.data());
    } else {
      read_slab(row);
    }
    if (plan_.wide_unsigned) check_unsigned(row);
  }

  void read_slab(std::uint64_t row) {
    const std::array<hsize_t, 2> start{one_row_ ? 0 : row, 0};
    const std::array<hsize_t, 2> count{one_row_ ? dim() : held_, dim()};
    const Hdf5Id file_space(H5Dget_space(dataset_.get()));
    const Hdf5Id memory_space(H5Screate_simple(static_cast<int>(rank_), count.data(), nullptr));
    if (H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
        H5Dread(dataset_.get(), plan_.memory, memory_space.get(), file_space.get(), H5P_DEFAULT, slab_.data()) < 0) {
      throw corrupt("{}: rows {} to {} cannot be read: {}", name_, row, row + held_ - 1, hdf5_reason());
    }
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
  std::unique_ptr<Hdf5Chunks> chunks_;  ///< For chunked data sets.
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
