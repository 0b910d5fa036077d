#include "hdf5_sink.h"

#include <algorithm>
#include <array>

#include "elements.h"
#include "errors.h"

namespace ivf::datasets {

namespace {

constexpr std::size_t kChunkBytes = std::size_t{256} << 10;

Hdf5Id stored_type(Element element) {
  const auto copy = [](hid_t type) { return Hdf5Id(H5Tcopy(type)); };
  switch (element) {
    case Element::f64:
      return copy(H5T_IEEE_F64LE);
    case Element::u8:
      return copy(H5T_STD_U8LE);
    case Element::i8:
      return copy(H5T_STD_I8LE);
    case Element::i32:
      return copy(H5T_STD_I32LE);
    case Element::i64:
      return copy(H5T_STD_I64LE);
    case Element::f32:
      return copy(H5T_IEEE_F32LE);
    case Element::f16:
      break;
  }
  // IEEE binary16: sign at bit 15, 5 bits of exponent from bit 10 with bias 15, 10 bits of mantissa from bit 0.
  Hdf5Id half = copy(H5T_IEEE_F32LE);
  H5Tset_fields(half.get(), 15, 10, 5, 0, 10);
  H5Tset_size(half.get(), 2);
  H5Tset_ebias(half.get(), 15);
  return half;
}

/// Removes a name, if it is there. What it leads to is not looked at: it may lie in another file.
bool remove_link(hid_t file, const std::string& name) {
  const LinkAccess access(H5P_LINK_ACCESS);
  if (H5Lexists(file, name.c_str(), access.get()) <= 0) return true;
  return H5Ldelete(file, name.c_str(), access.get()) >= 0;
}

}  // namespace

/// Rows are gathered into whole chunks: they are written once, and a data set smaller than a chunk takes no more room
/// than its rows.
class Hdf5Sink::Dataset {
 public:
  Dataset(hid_t file, const std::string& file_name, std::string link, std::size_t dim, Element element,
          unsigned deflate)
      : file_(file),
        name_(file_name + ":" + link),
        link_(std::move(link)),
        dim_(dim),
        row_bytes_(dim * element_size(element)),
        type_(stored_type(element)),
        deflate_(deflate),
        chunk_rows_(std::max<std::size_t>(1, kChunkBytes / row_bytes_)) {
    pending_.reserve(chunk_rows_ * row_bytes_);
    create(chunk_rows_);
  }

  void put(const std::byte* rows, std::size_t count) {
    while (count > 0) {
      const std::size_t held = pending_.size() / row_bytes_;
      const std::size_t taken = std::min(count, chunk_rows_ - held);
      pending_.insert(pending_.end(), rows, rows + taken * row_bytes_);
      rows += taken * row_bytes_;
      count -= taken;
      if (held + taken == chunk_rows_) flush();
    }
  }

  /// Writes what is pending and releases the data set. False when the library could not.
  bool close() {
    if (stored_rows_ == 0 && !pending_.empty()) {
      id_.reset();
      remove_link(file_, link_);
      create(pending_.size() / row_bytes_);
    }
    if (!pending_.empty()) flush();
    return id_.reset();
  }

 private:
  void create(std::size_t chunk_rows) {
    const Hdf5Id links(H5Pcreate(H5P_LINK_CREATE));
    H5Pset_create_intermediate_group(links.get(), 1);
    const Hdf5Id plist(H5Pcreate(H5P_DATASET_CREATE));
    const std::array<hsize_t, 2> chunk{chunk_rows, dim_};
    H5Pset_chunk(plist.get(), 2, chunk.data());
    H5Pset_obj_track_times(plist.get(), false);  // the same rows give the same file
    if (deflate_ > 0) {
      H5Pset_shuffle(plist.get());
      H5Pset_deflate(plist.get(), deflate_);
    }
    const std::array<hsize_t, 2> size{0, dim_};
    const std::array<hsize_t, 2> limit{H5S_UNLIMITED, dim_};
    const Hdf5Id space(H5Screate_simple(2, size.data(), limit.data()));
    const LinkAccess access(H5P_DATASET_ACCESS);
    id_ = Hdf5Id(H5Dcreate2(file_, link_.c_str(), type_.get(), space.get(), links.get(), plist.get(), access.get()));
    if (!id_) throw failed("{}: cannot be created: {}", name_, hdf5_reason());
  }

  void flush() {
    const std::size_t count = pending_.size() / row_bytes_;
    const std::array<hsize_t, 2> size{stored_rows_ + count, dim_};
    const std::array<hsize_t, 2> start{stored_rows_, 0};
    const std::array<hsize_t, 2> slab{count, dim_};
    const bool grown = id_ && H5Dset_extent(id_.get(), size.data()) >= 0;
    const Hdf5Id file_space(grown ? H5Dget_space(id_.get()) : H5I_INVALID_HID);
    const Hdf5Id memory_space(H5Screate_simple(2, slab.data(), nullptr));
    if (!file_space ||
        H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, slab.data(), nullptr) < 0 ||
        H5Dwrite(id_.get(), type_.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, pending_.data()) < 0) {
      throw failed("{}: row {}: write error: {}", name_, stored_rows_, hdf5_reason());
    }
    stored_rows_ += count;
    pending_.clear();
  }

  hid_t file_;
  std::string name_;
  std::string link_;
  std::size_t dim_;
  std::size_t row_bytes_;
  Hdf5Id type_;
  Hdf5Id id_;
  unsigned deflate_;
  std::size_t chunk_rows_;
  std::vector<std::byte> pending_;
  std::uint64_t stored_rows_ = 0;
};

Hdf5Sink::Hdf5Sink(std::string file, const std::string& temporary, bool update) : name_(std::move(file)) {
  const Hdf5Guard guard;
  if (update) {
    file_ = Hdf5Id(H5Fopen(temporary.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    if (file_) return;
    const std::string reason = hdf5_reason();
    if (hdf5_open_refused()) throw failed("{}: cannot be opened for writing: {}", name_, reason);
    // The library writes to what it opens for writing. What can be read is no damaged file.
    if (const Hdf5Id readable(H5Fopen(temporary.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)); readable) {
      throw failed("{}: cannot be written: {}", name_, reason);
    }
    throw corrupt("{}: cannot be read as HDF5, so nothing can be added: {}", name_, reason);
  } else {
    file_ = Hdf5Id(H5Fcreate(temporary.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    if (!file_) throw failed("{}: cannot be created: {}", name_, hdf5_reason());
  }
}

Hdf5Sink::~Hdf5Sink() {
  const Hdf5Guard guard;
  datasets_.clear();
  file_.reset();
}

void Hdf5Sink::attribute(const std::string& name, const std::string& value) {
  const Hdf5Guard guard;
  // Variable length and UTF-8: what h5py writes, and what it hands to Python as a string.
  const Hdf5Id type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const Hdf5Id space(H5Screate(H5S_SCALAR));
  if (H5Aexists_by_name(file_.get(), "/", name.c_str(), H5P_DEFAULT) > 0) H5Adelete(file_.get(), name.c_str());
  const Hdf5Id id(H5Acreate2(file_.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
  const char* text = value.c_str();
  if (!id || H5Awrite(id.get(), type.get(), &text) < 0) {
    throw failed("{}: attribute '{}' cannot be written: {}", name_, name, hdf5_reason());
  }
}

void Hdf5Sink::dataset(const std::string& name, std::size_t dim, Element element, unsigned deflate) {
  const Hdf5Guard guard;
  if (!remove_link(file_.get(), name)) throw failed("{}:{}: cannot be replaced: {}", name_, name, hdf5_reason());
  datasets_.push_back(std::make_unique<Dataset>(file_.get(), name_, name, dim, element, deflate));
}

void Hdf5Sink::put(std::size_t dataset, const std::byte* rows, std::size_t count) {
  const Hdf5Guard guard;
  datasets_.at(dataset)->put(rows, count);
}

void Hdf5Sink::finish() {
  const Hdf5Guard guard;
  bool written = true;
  for (const auto& dataset : datasets_) written = dataset->close() && written;
  written = written && H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) >= 0;
  const std::string reason = written ? "" : hdf5_reason();
  if (!file_.reset() || !written) throw failed("{}: write error: {}", name_, reason.empty() ? hdf5_reason() : reason);
}

}  // namespace ivf::datasets
