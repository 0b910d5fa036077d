// Bringing a corpus into device memory.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "backends/gpu/corpus.h"
#include "backends/gpu/kernels.h"
#include "ivf/error.hpp"

namespace ivf::detail::gpu {
namespace {

// Rows that a tile may read past the last.
constexpr std::uint32_t spare_places = 128;
constexpr std::size_t staging_bytes = std::size_t{64} << 20;

std::uint32_t padded(std::uint64_t rows) {
  return static_cast<std::uint32_t>((rows + group_rows - 1) / group_rows * group_rows);
}

struct Sizes {
  std::vector<std::uint64_t> lists;
  std::uint64_t places = 0;
  bool has_lo = false;
};

Sizes sizes_of(const Corpus& corpus) {
  Sizes sizes;
  sizes.lists.assign(corpus.nlist, 0);
  for (const auto& segment : corpus.segments) {
    for (std::size_t l = 0; l < corpus.nlist; ++l) sizes.lists[l] += segment.offsets[l + 1] - segment.offsets[l];
    sizes.has_lo |= !segment.planes.lo.empty();
  }
  for (const std::uint64_t size : sizes.lists) sizes.places += (size + group_rows - 1) / group_rows * group_rows;
  return sizes;
}

/// The arrays of a corpus, in one allocation.
struct Arrays {
  std::uint16_t *hi, *lo;
  float* halves;
  std::int64_t* ids;
  std::uint32_t *begins, *sizes;
  float *residuals, *norms;  ///< Of the lists and, last, of all rows.

  Arrays(Arena& arena, const Sizes& sizes_of_lists, unsigned steps) {
    const std::size_t places = sizes_of_lists.places + spare_places, nlist = sizes_of_lists.lists.size();
    hi = arena.take<std::uint16_t>(places * steps * step_dims);
    lo = arena.take<std::uint16_t>(sizes_of_lists.has_lo ? places * steps * step_dims : 0);
    halves = arena.take<float>(places);
    ids = arena.take<std::int64_t>(places);
    begins = arena.take<std::uint32_t>(nlist + 1);
    sizes = arena.take<std::uint32_t>(nlist + 1);
    residuals = arena.take<float>(nlist + 1);
    norms = arena.take<float>(nlist + 1);
  }
};

/// ‖x−x̂‖/‖x‖ at most, over the rows of a list.
float bound_of(const format::SegmentView& segment, std::size_t list) {
  if (segment.planes.lo.empty()) return 0.0f;
  return segment.residuals.empty() ? 0x1p-8f : segment.residuals[list];
}

template <class T>
void copy_in(T* to, const T* from, std::size_t count, Stream stream) {
  if (count == 0) return;
  check_status(IVF_GPU(MemcpyAsync)(to, from, count * sizeof(T), IVF_GPU(MemcpyHostToDevice), stream),
               "copy to the device");
}

template <class T>
void zero(T* memory, std::size_t count, Stream stream) {
  if (count == 0) return;
  check_status(IVF_GPU(MemsetAsync)(memory, 0, count * sizeof(T), stream), "memset");
}

/// Copies a segment in pieces through staging memory. `next` holds the next free place of each list.
void upload_segment(const Corpus& corpus, const format::SegmentView& segment, std::uint64_t first_id,
                    const Arrays& arrays, bool has_lo, std::vector<std::uint32_t>& next, Allocator& allocator,
                    Stream stream) {
  const std::size_t d = corpus.dim;
  const unsigned steps = static_cast<unsigned>((d + step_dims - 1) / step_dims);
  const std::uint64_t piece =
      std::max<std::uint64_t>(1, std::min<std::uint64_t>(segment.rows, staging_bytes / (d * 2)));
  const auto layout = [&](Arena& arena, UploadArgs& args) {
    args.hi = arena.take<std::uint16_t>(piece * d);
    args.lo = arena.take<std::uint16_t>(segment.planes.lo.empty() ? 0 : piece * d);
    if (segment.planes.lo.empty()) args.lo = nullptr;
    args.squares = arena.take<float>(piece);
    args.ids = arena.take<std::int64_t>(piece);
    args.places = arena.take<uint2>(piece);
  };
  UploadArgs args{};
  Arena counter;
  layout(counter, args);
  const DeviceMemory staging(allocator, counter.used(), stream);
  Arena arena(staging.data());
  layout(arena, args);
  args.d = static_cast<unsigned>(d);
  args.steps = steps;
  args.inner_product = corpus.inner_product;
  args.to_hi = arrays.hi;
  args.to_lo = has_lo ? arrays.lo : nullptr;
  args.to_halves = arrays.halves;
  args.to_ids = arrays.ids;
  args.to_norms = reinterpret_cast<unsigned*>(arrays.norms);
  args.to_norm = reinterpret_cast<unsigned*>(arrays.norms) + corpus.nlist;
  std::vector<uint2> places(piece);
  std::vector<std::int64_t> ids(segment.ids.empty() ? piece : 0);
  std::size_t list = 0;
  for (std::uint64_t first = 0; first < segment.rows; first += piece) {
    const std::uint64_t count = std::min(piece, segment.rows - first);
    for (std::uint64_t i = 0; i < count; ++i) {
      while (first + i >= segment.offsets[list + 1]) ++list;
      places[i] = {next[list]++, static_cast<unsigned>(list)};
      if (segment.ids.empty()) ids[i] = static_cast<std::int64_t>(first_id + first + i);
    }
    copy_in(const_cast<std::uint16_t*>(args.hi), segment.planes.hi.data() + first * d, count * d, stream);
    if (!segment.planes.lo.empty())
      copy_in(const_cast<std::uint16_t*>(args.lo), segment.planes.lo.data() + first * d, count * d, stream);
    copy_in(const_cast<float*>(args.squares), segment.planes.norms.data() + first, count, stream);
    copy_in(const_cast<std::int64_t*>(args.ids), segment.ids.empty() ? ids.data() : segment.ids.data() + first, count,
            stream);
    copy_in(const_cast<uint2*>(args.places), places.data(), count, stream);
    args.rows = static_cast<std::uint32_t>(count);
    launch_upload(args, stream);
    // The next piece overwrites the host's arrays as well as the staging memory.
    check_status(IVF_GPU(StreamSynchronize)(stream), "upload");
  }
}

}  // namespace

DeviceCorpus::DeviceCorpus(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
DeviceCorpus::~DeviceCorpus() = default;
std::uint64_t DeviceCorpus::bytes() const noexcept { return impl_->bytes; }

std::uint32_t DeviceCorpus::Impl::places_of(std::uint64_t max_codes) const noexcept {
  if (max_codes == 0 || max_codes >= rows) return places;
  std::uint32_t place = 0;
  for (const std::uint32_t size : sizes) {
    if (max_codes <= size) return place + static_cast<std::uint32_t>(max_codes);
    max_codes -= size;
    place += padded(size);
  }
  return place;
}

std::uint64_t Engine::bytes_needed(const Corpus& corpus) {
  Arena arena;
  const Arrays arrays(arena, sizes_of(corpus), static_cast<unsigned>((corpus.dim + step_dims - 1) / step_dims));
  return arena.used();
}

std::unique_ptr<DeviceCorpus> load_corpus(const Corpus& corpus, Allocator& allocator, StreamHandle stream_handle) {
  const Stream stream = static_cast<Stream>(stream_handle);
  const Sizes sizes = sizes_of(corpus);
  const unsigned steps = static_cast<unsigned>((corpus.dim + step_dims - 1) / step_dims);
  auto impl = std::make_unique<DeviceCorpus::Impl>();
  Arena counter;
  const Arrays count_only(counter, sizes, steps);
  impl->bytes = counter.used();
  constexpr std::uint64_t most_places = std::numeric_limits<std::uint32_t>::max() - 65536u;
  if (sizes.places > most_places) {
    throw Error(ErrorKind::failed, "expected at most " + std::to_string(most_places) + " rows on a device, found " +
                                       std::to_string(sizes.places) + "; search the index on the CPU");
  }
  std::size_t free_bytes = 0, total_bytes = 0;
  check_status(IVF_GPU(MemGetInfo)(&free_bytes, &total_bytes), "memory information");
  if (impl->bytes > free_bytes) {
    throw Error(ErrorKind::failed, "expected " + std::to_string(impl->bytes) + " bytes of device memory for " +
                                       std::to_string(corpus.rows) + " rows, found " + std::to_string(free_bytes) +
                                       " free of " + std::to_string(total_bytes) +
                                       "; free memory or search the index on the CPU");
  }
  impl->memory = DeviceMemory(allocator, impl->bytes, stream_handle);
  Arena arena(impl->memory.data());
  const Arrays arrays(arena, sizes, steps);

  impl->rows = corpus.rows;
  impl->places = static_cast<std::uint32_t>(sizes.places);
  std::vector<std::uint32_t> begins;
  std::vector<float> residuals(corpus.nlist + 1, 0.0f);
  std::uint32_t place = 0;
  for (const std::uint64_t size : sizes.lists) {
    impl->sizes.push_back(static_cast<std::uint32_t>(size));
    begins.push_back(place);
    place += padded(size);
  }
  for (const auto& segment : corpus.segments) {
    for (std::size_t l = 0; l < corpus.nlist; ++l) residuals[l] = std::max(residuals[l], bound_of(segment, l));
  }
  residuals.back() = *std::max_element(residuals.begin(), residuals.end());
  std::vector<std::uint32_t> by_size = impl->sizes;
  std::sort(by_size.begin(), by_size.end(), std::greater<>());
  impl->largest.push_back(0);
  for (const std::uint32_t size : by_size) impl->largest.push_back(impl->largest.back() + size);

  std::vector<std::uint32_t> next = begins;
  begins.push_back(0);
  std::vector<std::uint32_t> counts = impl->sizes;
  counts.push_back(impl->places);
  copy_in(arrays.begins, begins.data(), begins.size(), stream);
  copy_in(arrays.sizes, counts.data(), counts.size(), stream);
  copy_in(arrays.residuals, residuals.data(), residuals.size(), stream);
  zero(arrays.norms, corpus.nlist + 1, stream);
  const std::size_t places = sizes.places + spare_places;
  launch_clear_rows(arrays.halves, arrays.ids, static_cast<std::uint32_t>(places), stream);
  // What pads the lists is multiplied like any row.
  zero(arrays.hi, places * steps * step_dims, stream);
  if (sizes.has_lo) zero(arrays.lo, places * steps * step_dims, stream);
  std::uint64_t first_id = 0;
  for (const auto& segment : corpus.segments) {
    upload_segment(corpus, segment, first_id, arrays, sizes.has_lo, next, allocator, stream);
    first_id += segment.rows;
  }
  check_status(IVF_GPU(StreamSynchronize)(stream), "upload");

  CorpusView& view = impl->lists;
  view.hi = arrays.hi;
  view.lo = sizes.has_lo ? arrays.lo : nullptr;
  view.halves = arrays.halves;
  view.ids = arrays.ids;
  view.begins = arrays.begins;
  view.sizes = arrays.sizes;
  view.residuals = arrays.residuals;
  view.norms = arrays.norms;
  view.nlist = static_cast<std::uint32_t>(corpus.nlist);
  view.d = static_cast<unsigned>(corpus.dim);
  view.steps = steps;
  view.inner_product = corpus.inner_product;
  impl->whole = view;
  impl->whole.begins += corpus.nlist;
  impl->whole.sizes += corpus.nlist;
  impl->whole.residuals += corpus.nlist;
  impl->whole.norms += corpus.nlist;
  impl->whole.nlist = 1;
  return std::make_unique<DeviceCorpus>(std::move(impl));
}

}  // namespace ivf::detail::gpu
