// HDF5 files, made of growing data sets.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "errors.h"
#include "formats.h"
#include "hdf5_library.h"
#include "input.h"
#include "ivf/format/output_file.hpp"
#include "output.h"
#include "stored_writer.h"

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

class File final : public Hdf5File {
 public:
  /// `update` keeps what is in an existing file.
  File(const std::string& path, bool update);
  ~File() override;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void attribute(const std::string& name, const std::string& value) override;
  Writer& dataset(const std::string& name, std::size_t dim, Element element, unsigned deflate) override;
  void finish() override;

  const std::string& path() const noexcept { return output_.path(); }

 private:
  class Dataset;

  void copy_existing();

  format::OutputFile output_;
  Hdf5Id file_;
  std::vector<std::unique_ptr<Dataset>> datasets_;
  bool finished_ = false;
};

/// Rows are gathered into whole chunks: they are written once, and a data set smaller than a chunk takes no more room
/// than its rows.
class File::Dataset final : public StoredWriter {
 public:
  Dataset(File& file, const std::string& name, std::size_t dim, Element element, unsigned deflate)
      : StoredWriter(file.path() + ":" + name, dim, element),
        file_(file),
        link_(name),
        type_(stored_type(element)),
        deflate_(deflate),
        chunk_rows_(std::max<std::size_t>(1, kChunkBytes / row_bytes())) {
    pending_.reserve(chunk_rows_ * row_bytes());
    create(chunk_rows_);
  }

  void finish() override { file_.finish(); }
  const std::string& link() const noexcept { return link_; }

  /// Writes what is pending and releases the data set. False when the library could not.
  bool close() {
    if (stored_rows_ == 0 && !pending_.empty()) {
      id_.reset();
      remove_link(file_.file_.get(), link_);
      create(pending_.size() / row_bytes());
    }
    if (!pending_.empty()) flush();
    return id_.reset();
  }

 private:
  void create(std::size_t chunk_rows) {
    const Hdf5Id links(H5Pcreate(H5P_LINK_CREATE));
    H5Pset_create_intermediate_group(links.get(), 1);
    const Hdf5Id plist(H5Pcreate(H5P_DATASET_CREATE));
    const std::array<hsize_t, 2> chunk{chunk_rows, dim()};
    H5Pset_chunk(plist.get(), 2, chunk.data());
    H5Pset_obj_track_times(plist.get(), false);  // the same rows give the same file
    if (deflate_ > 0) {
      H5Pset_shuffle(plist.get());
      H5Pset_deflate(plist.get(), deflate_);
    }
    const std::array<hsize_t, 2> size{0, dim()};
    const std::array<hsize_t, 2> limit{H5S_UNLIMITED, dim()};
    const Hdf5Id space(H5Screate_simple(2, size.data(), limit.data()));
    const LinkAccess access(H5P_DATASET_ACCESS);
    id_ = Hdf5Id(
        H5Dcreate2(file_.file_.get(), link_.c_str(), type_.get(), space.get(), links.get(), plist.get(), access.get()));
    if (!id_) throw failed("{}: cannot be created: {}", name(), hdf5_reason());
  }

  void put(std::byte* rows, std::size_t count) override {
    while (count > 0) {
      const std::size_t held = pending_.size() / row_bytes();
      const std::size_t taken = std::min(count, chunk_rows_ - held);
      pending_.insert(pending_.end(), rows, rows + taken * row_bytes());
      rows += taken * row_bytes();
      count -= taken;
      if (held + taken == chunk_rows_) flush();
    }
  }

  void flush() {
    const Hdf5Guard guard;
    const std::size_t count = pending_.size() / row_bytes();
    const std::array<hsize_t, 2> size{stored_rows_ + count, dim()};
    const std::array<hsize_t, 2> start{stored_rows_, 0};
    const std::array<hsize_t, 2> slab{count, dim()};
    const bool grown = id_ && H5Dset_extent(id_.get(), size.data()) >= 0;
    const Hdf5Id file_space(grown ? H5Dget_space(id_.get()) : H5I_INVALID_HID);
    const Hdf5Id memory_space(H5Screate_simple(2, slab.data(), nullptr));
    if (!file_space ||
        H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr, slab.data(), nullptr) < 0 ||
        H5Dwrite(id_.get(), type_.get(), memory_space.get(), file_space.get(), H5P_DEFAULT, pending_.data()) < 0) {
      throw failed("{}: row {}: write error: {}", name(), stored_rows_, hdf5_reason());
    }
    stored_rows_ += count;
    pending_.clear();
  }

  File& file_;
  std::string link_;
  Hdf5Id type_;
  Hdf5Id id_;
  unsigned deflate_;
  std::size_t chunk_rows_;
  std::vector<std::byte> pending_;
  std::uint64_t stored_rows_ = 0;
};

/// The library needs a file in which it can go back and forth.
const std::string& seekable(const std::string& path) {
  if (is_stream(path)) throw misuse("{}: HDF5 cannot be written to a pipe or device; name a file, or pipe npy:-", path);
  return path;
}

File::File(const std::string& path, bool update) : output_(seekable(path)) {
  const Hdf5Guard guard;
  const bool existing = update && ::access(path.c_str(), F_OK) == 0;
  if (existing) {
    copy_existing();
    file_ = Hdf5Id(H5Fopen(output_.temporary_path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    if (!file_) throw corrupt("{}: cannot be read as HDF5, so nothing can be added: {}", path, hdf5_reason());
  } else {
    file_ = Hdf5Id(H5Fcreate(output_.temporary_path().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    if (!file_) throw failed("{}: cannot be created: {}", path, hdf5_reason());
  }
}

File::~File() {
  const Hdf5Guard guard;
  datasets_.clear();
  file_.reset();
}

void File::copy_existing() {
  Input existing(output_.path());
  for (;;) {
    const auto bytes = existing.peek(1);
    if (bytes.empty()) return;
    // Written at its place, past the buffer of appended bytes: the library opens the file by name next.
    output_.write_at(existing.offset(), bytes.data(), bytes.size());
    existing.consume(bytes.size());
  }
}

void File::attribute(const std::string& name, const std::string& value) {
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
    throw failed("{}: attribute '{}' cannot be written: {}", path(), name, hdf5_reason());
  }
}

Writer& File::dataset(const std::string& name, std::size_t dim, Element element, unsigned deflate) {
  const Hdf5Guard guard;
  check_shape(path() + ":" + name, dim, element, std::nullopt);
  for (const auto& other : datasets_) {
    if (other->link() == name) throw misuse("{}:{}: is written twice in one file; give it another name", path(), name);
  }
  if (!remove_link(file_.get(), name)) throw failed("{}:{}: cannot be replaced: {}", path(), name, hdf5_reason());
  datasets_.push_back(std::make_unique<Dataset>(*this, name, dim, element, deflate));
  return *datasets_.back();
}

void File::finish() {
  if (finished_) return;
  const Hdf5Guard guard;
  bool written = true;
  for (const auto& dataset : datasets_) written = dataset->close() && written;
  written = written && H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) >= 0;
  const std::string reason = written ? "" : hdf5_reason();
  if (!file_.reset() || !written) throw failed("{}: write error: {}", path(), reason.empty() ? hdf5_reason() : reason);
  output_.commit();
  finished_ = true;
}

/// One data set and the file around it.
class SingleWriter final : public Writer {
 public:
  SingleWriter(std::unique_ptr<Hdf5File> file, Writer& dataset) : file_(std::move(file)), dataset_(dataset) {}
  void write(const float* rows, std::size_t count) override { dataset_.write(rows, count); }
  void write_ids(const idx_t* rows, std::size_t count) override { dataset_.write_ids(rows, count); }
  void finish() override { file_->finish(); }

 private:
  std::unique_ptr<Hdf5File> file_;
  Writer& dataset_;
};

}  // namespace

std::unique_ptr<Hdf5File> Hdf5File::create(const std::string& path) { return std::make_unique<File>(path, false); }

std::unique_ptr<Hdf5File> Hdf5File::update(const std::string& path) { return std::make_unique<File>(path, true); }

std::unique_ptr<Writer> create_hdf5(const Spec& spec, const WriteOptions& options) {
  // A data set that is named joins the others of an existing file; a file that is named alone is made anew.
  auto file = spec.dataset.empty() ? Hdf5File::create(spec.path) : Hdf5File::update(spec.path);
  if (!options.distance.empty()) file->attribute("distance", options.distance);
  Writer& dataset = file->dataset(spec.dataset.empty() ? hdf5_default_dataset(options.role) : spec.dataset, options.dim,
                                  options.element, options.deflate);
  return std::make_unique<SingleWriter>(std::move(file), dataset);
}

}  // namespace ivf::datasets
