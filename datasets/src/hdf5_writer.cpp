// HDF5 files, made of growing data sets. A new one is written here; one that is added to may be damaged, or made to
// attack the library that reads it first, and is written by a process of its own.

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <type_traits>

#include "errors.h"
#include "formats.h"
#include "hdf5_sink.h"
#include "helper_process.h"
#include "input.h"
#include "ivf/format/output_file.hpp"
#include "output.h"
#include "stored_writer.h"
#include "system_call_filter.h"

namespace ivf::datasets {

namespace {

/// What the process is asked to do. Text and rows follow.
struct Request {
  enum class What : std::uint32_t { open, attribute, dataset, put, finish } what = What::open;
  Element element = Element::f32;
  unsigned deflate = 0;
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;   ///< Of the first text; the dimension of a data set; the number of rows.
  std::uint64_t index = 0;  ///< Of a data set.
};

// It is sent as it lies in memory.
static_assert(std::has_unique_object_representations_v<Request>);

std::string packed(const Request& request, std::string_view first = {}, std::string_view second = {}) {
  std::string message(reinterpret_cast<const char*>(&request), sizeof request);
  return message.append(first).append(second);
}

/// The same, asked of an Hdf5Sink.
std::string answer(std::unique_ptr<Hdf5Sink>& sink, const std::string& file, std::string_view message) {
  Request request;
  std::memcpy(&request, message.data(), sizeof request);
  const std::string_view rest = message.substr(sizeof request);
  switch (request.what) {
    case Request::What::open:
      confine_to_file(std::string(rest), O_RDWR);
      sink = std::make_unique<Hdf5Sink>(file, std::string(rest), true);
      break;
    case Request::What::attribute:
      sink->attribute(std::string(rest.substr(0, request.size)), std::string(rest.substr(request.size)));
      break;
    case Request::What::dataset:
      sink->dataset(std::string(rest), request.size, request.element, request.deflate);
      break;
    case Request::What::put:
      sink->put(request.index, reinterpret_cast<const std::byte*>(rest.data()), request.size);
      break;
    case Request::What::finish:
      sink->finish();
      break;
  }
  return {};
}

class File final : public Hdf5File {
 public:
  /// `update` keeps what is in an existing file.
  File(const std::string& path, bool update);

  void attribute(const std::string& name, const std::string& value) override {
    if (sink_) {
      sink_->attribute(name, value);
    } else {
      helper_->call(packed({.what = Request::What::attribute, .size = name.size()}, name, value));
    }
  }

  Writer& dataset(const std::string& name, std::size_t dim, Element element, unsigned deflate) override;
  void finish() override;

  const std::string& path() const noexcept { return output_.path(); }

 private:
  class Dataset;

  void copy_existing();

  format::OutputFile output_;
  std::unique_ptr<Hdf5Sink> sink_;         ///< Of a new file,
  std::unique_ptr<HelperProcess> helper_;  ///< of one that is added to.
  std::vector<std::unique_ptr<Dataset>> datasets_;
  bool finished_ = false;
};

class File::Dataset final : public StoredWriter {
 public:
  Dataset(File& file, std::string link, std::size_t index, std::size_t dim, Element element)
      : StoredWriter(file.path() + ":" + link, dim, element), file_(file), link_(std::move(link)), index_(index) {}

  void finish() override { file_.finish(); }
  const std::string& link() const noexcept { return link_; }

 private:
  void put(std::byte* rows, std::size_t count) override {
    if (file_.sink_) {
      file_.sink_->put(index_, rows, count);
    } else {
      const std::string_view bytes(reinterpret_cast<const char*>(rows), count * row_bytes());
      file_.helper_->call(packed({.what = Request::What::put, .size = count, .index = index_}, bytes));
    }
  }

  File& file_;
  std::string link_;
  std::size_t index_;
};

/// The library needs a file in which it can go back and forth.
const std::string& seekable(const std::string& path) {
  if (is_stream(path)) throw misuse("{}: HDF5 cannot be written to a pipe or device; name a file, or pipe npy:-", path);
  return path;
}

File::File(const std::string& path, bool update) : output_(seekable(path)) {
  if (!update || ::access(path.c_str(), F_OK) != 0) {
    sink_ = std::make_unique<Hdf5Sink>(path, output_.temporary_path(), false);
    return;
  }
  copy_existing();
  {
    // So that no other thread is in the library, whose state the child inherits.
    const Hdf5Guard guard;
    helper_ = std::make_unique<HelperProcess>(
        path, HelperProcess::Limits::for_file(path),
        [path, sink = std::make_shared<std::unique_ptr<Hdf5Sink>>()](HelperProcess& self, std::string_view m) {
          if (!*sink) {
            hdf5_after_fork();
            self.close_all_but(-1);
          }
          return answer(*sink, path, m);
        });
  }
  helper_->call(packed({.what = Request::What::open}, output_.temporary_path()));
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

Writer& File::dataset(const std::string& name, std::size_t dim, Element element, unsigned deflate) {
  check_shape(path() + ":" + name, dim, element, std::nullopt);
  for (const auto& other : datasets_) {
    if (other->link() == name) throw misuse("{}:{}: is written twice in one file; give it another name", path(), name);
  }
  if (sink_) {
    sink_->dataset(name, dim, element, deflate);
  } else {
    helper_->call(packed({.what = Request::What::dataset, .element = element, .deflate = deflate, .size = dim}, name));
  }
  datasets_.push_back(std::make_unique<Dataset>(*this, name, datasets_.size(), dim, element));
  return *datasets_.back();
}

void File::finish() {
  if (finished_) return;
  if (sink_) {
    sink_->finish();
  } else {
    helper_->call(packed({.what = Request::What::finish}));
  }
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
