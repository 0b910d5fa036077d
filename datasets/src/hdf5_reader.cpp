// HDF5 files, read by a process of their own: the library crashes on some damaged files, and the files of strangers may
// be made to attack it. What they do there stays there.

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "errors.h"
#include "formats.h"
#include "hdf5_source.h"
#include "helper_process.h"
#include "stored_reader.h"
#include "system_call_filter.h"

namespace ivf::datasets {

namespace {

template <class Value>
std::string packed(const Value& value) {
  static_assert(std::has_unique_object_representations_v<Value>);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <class Value>
Value unpacked(std::string_view bytes) {
  Value value{};
  if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

/// Rows row .. row + count, all of one slab.
struct SlabRequest {
  std::uint64_t row = 0;
  std::uint64_t count = 0;
};

class Hdf5Reader final : public StoredReader {
 public:
  Hdf5Reader(const Spec& spec, const ReadOptions& options)
      : StoredReader(spec.path + ":" + (spec.dataset.empty() ? hdf5_default_dataset(options.role) : spec.dataset)),
        helper_(start(spec.path)) {
    source_ = unpacked<Hdf5Source::Shape>(helper_->call(name_.substr(spec.path.size() + 1)));
    set_shape({static_cast<std::size_t>(source_.dim), source_.rows, source_.element, source_.reported, false}, options);
    slab_ = helper_->shared(static_cast<std::size_t>(source_.slab_rows * source_.row_bytes)).data();
  }

 private:
  /// The first request names the data set and opens it; every later one asks for a slab.
  std::unique_ptr<HelperProcess> start(const std::string& path) {
    // So that no other thread is in the library, whose state the child inherits.
    const Hdf5Guard guard;
    auto serve = [path, source = std::shared_ptr<Hdf5Source>(), out = static_cast<std::byte*>(nullptr)](
                     HelperProcess& self, std::string_view request) mutable -> std::string {
      if (!source) {
        hdf5_after_fork();
        self.close_all_but(descriptor_in(path));
        confine_to_file(path, O_RDONLY | O_NONBLOCK);
        source = std::make_shared<Hdf5Source>(path, std::string(request));
        const Hdf5Source::Shape& shape = source->shape();
        self.close_all_but(source->descriptor());
        HelperProcess::allow_memory(shape.working_bytes);
        out = self.share(static_cast<std::size_t>(shape.slab_rows * shape.row_bytes)).data();
        return packed(shape);
      }
      const auto slab = unpacked<SlabRequest>(request);
      source->load(slab.row, slab.count, out);
      return {};
    };
    return std::make_unique<HelperProcess>(path, HelperProcess::Limits::for_file(path), std::move(serve));
  }

  Block next_block(std::size_t max_rows) override {
    if (at_ == held_) load_slab();
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(max_rows, held_ - at_));
    const std::byte* first = slab_ + at_ * source_.row_bytes;
    at_ += count;
    return {first, count, static_cast<std::size_t>(source_.row_bytes)};
  }

  void load_slab() {
    const std::uint64_t row = next_row();
    held_ = std::min(source_.slab_rows - row % source_.slab_rows, rows_left());
    at_ = 0;
    helper_->call(packed(SlabRequest{row, held_}));
  }

  std::unique_ptr<HelperProcess> helper_;
  Hdf5Source::Shape source_;
  const std::byte* slab_ = nullptr;
  std::uint64_t held_ = 0;  ///< Rows in the slab,
  std::uint64_t at_ = 0;    ///< of which so many were handed out.
};

std::string root_attribute(const std::string& path, const std::string& name) {
  const Hdf5Guard guard;
  // The library follows some damaged attributes for ever; a sound one takes milliseconds.
  HelperProcess::Limits limits = HelperProcess::Limits::for_file(path);
  limits.processor_time = std::chrono::seconds(10);
  HelperProcess helper(path, limits, [&path](HelperProcess& self, std::string_view attribute) {
    hdf5_after_fork();
    self.close_all_but(descriptor_in(path));
    confine_to_file(path, O_RDONLY | O_NONBLOCK);
    const Hdf5Guard inside;
    const Hdf5Id file = hdf5_open_file(path);
    return hdf5_root_attribute(file.get(), path, std::string(attribute));
  });
  return helper.call(name);
}

}  // namespace

std::unique_ptr<Reader> open_hdf5(const Spec& spec, const ReadOptions& options) {
  return std::make_unique<Hdf5Reader>(spec, options);
}

std::optional<Metric> stored_metric(const std::string& text) {
  const Spec spec = parse_spec(text);
  if (spec.format != Format::hdf5) return std::nullopt;
  const std::string distance = root_attribute(spec.path, "distance");
  if (distance.empty()) return std::nullopt;
  if (distance == "euclidean" || distance == "l2" || distance == "sqeuclidean") return Metric::l2;
  if (distance == "angular" || distance == "cosine") return Metric::cosine;
  if (distance == "dot" || distance == "ip" || distance == "inner_product" || distance == "innerproduct")
    return Metric::ip;
  throw misuse("{}: its attribute 'distance' is '{}'; known are euclidean, angular and dot; name the metric yourself",
               spec.path, distance);
}

}  // namespace ivf::datasets
