// Bringing a corpus into device memory, and hiding rows of it.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "backends/gpu/corpus.h"
#include "backends/gpu/kernels.h"
#include "ivf/error.hpp"
#include "ivf/format/row_bits.hpp"
#include "parallel.h"

namespace ivf::detail::gpu {
namespace {

// Rows that a tile may read past the last.
constexpr std::uint32_t spare_places = 128;

unsigned steps_of(const Corpus& corpus) { return static_cast<unsigned>((corpus.dim + step_dims - 1) / step_dims); }

bool has_lo(const Corpus& corpus) {
  return std::any_of(corpus.segments.begin(), corpus.segments.end(),
                     [](const format::SegmentView& segment) { return !segment.planes.lo.empty(); });
}

/// What is known of each list, and, last, of all rows as one. Made on the host, and copied as a whole.
struct Tables {
  std::uint32_t *begins, *sizes, *whole, *skipped;
  float *residuals, *norms;

  Tables(Arena& arena, std::size_t nlist, bool partial) {
    begins = arena.take<std::uint32_t>(nlist + 1);
    sizes = arena.take<std::uint32_t>(nlist + 1);
    residuals = arena.take<float>(nlist + 1);
    norms = arena.take<float>(nlist + 1);
    whole = arena.take<std::uint32_t>(partial ? nlist : 0);
    skipped = arena.take<std::uint32_t>(partial ? nlist : 0);
  }
};

/// The arrays of a corpus, in one allocation.
struct Arrays {
  std::uint16_t *hi, *lo;
  float* halves;
  std::int64_t* ids;
  std::uint32_t* origins;
  Tables tables;

  /// Of a corpus with so many places; `partial`: it is a part of one.
  Arrays(Arena& arena, const Corpus& corpus, std::uint32_t places, bool partial)
      : hi(arena.take<std::uint16_t>(values(corpus, places))),
        lo(arena.take<std::uint16_t>(has_lo(corpus) ? values(corpus, places) : 0)),
        halves(arena.take<float>(with_spare(places))),
        ids(arena.take<std::int64_t>(with_spare(places))),
        origins(arena.take<std::uint32_t>(with_spare(places))),
        tables(arena, corpus.nlist, partial) {}

  static std::size_t with_spare(std::uint32_t places) { return std::size_t{places} + spare_places; }
  static std::size_t values(const Corpus& corpus, std::uint32_t places) {
    return with_spare(places) * steps_of(corpus) * step_dims;
  }
};

/// Rows on their way: the same arrays in page-locked memory and on the device.
struct Piece {
  std::uint16_t *hi, *lo;  ///< Row-major.
  float* squares;
  std::int64_t* ids;
  UploadPlace* places;

  Piece(Arena& arena, std::size_t rows, std::size_t d, bool with_lo)
      : hi(arena.take<std::uint16_t>(rows * d)),
        lo(with_lo ? arena.take<std::uint16_t>(rows * d) : nullptr),
        squares(arena.take<float>(rows)),
        ids(arena.take<std::int64_t>(rows)),
        places(arena.take<UploadPlace>(rows)) {}
};

std::size_t piece_bytes(std::size_t rows, std::size_t d, bool with_lo) {
  Arena arena;
  const Piece piece(arena, rows, d, with_lo);
  return arena.used();
}

/// Rows that fit a staging buffer.
std::size_t piece_rows(const Corpus& corpus) {
  const std::size_t row_bytes =
      corpus.dim * (has_lo(corpus) ? 4 : 2) + sizeof(float) + sizeof(std::int64_t) + sizeof(UploadPlace);
  return std::max<std::size_t>(1, std::min<std::uint64_t>(corpus.rows, Staging::most_bytes / row_bytes));
}

/// ‖x−x̂‖/‖x‖ at most, over the rows of a list.
float bound_of(const format::SegmentView& segment, std::size_t list) {
  if (segment.planes.lo.empty()) return 0.0f;
  return segment.residuals.empty() ? 0x1p-8f : segment.residuals[list];
}

template <class T>
void zero(T* memory, std::size_t count, Stream stream) {
  if (count == 0) return;
  check_status(IVF_GPU(MemsetAsync)(memory, 0, count * sizeof(T), stream), "memset");
}

/// The spans of one segment, whose rows are numbered one after the other.
class SegmentRows {
 public:
  SegmentRows(const Corpus& corpus, std::size_t segment, std::uint64_t first_id, std::uint64_t first_origin,
              std::span<const Span> spans, std::span<const std::uint64_t> hidden)
      : segment_(corpus.segments[segment]),
        d_(corpus.dim),
        first_id_(first_id),
        first_origin_(first_origin),
        spans_(spans),
        hidden_(hidden) {
    for (const Span& span : spans_) begins_.push_back(begins_.back() + (span.last - span.first));
  }
  std::uint64_t count() const noexcept { return begins_.back(); }

  /// Copies rows [first, last) to places from `to` on of a piece.
  void copy(std::uint64_t first, std::uint64_t last, std::size_t to, const Piece& piece) const {
    auto at = static_cast<std::size_t>(std::upper_bound(begins_.begin(), begins_.end(), first) - begins_.begin()) - 1;
    for (; first < last; ++at) {
      const Span& span = spans_[at];
      const std::uint64_t row = span.first + (first - begins_[at]);
      const std::uint64_t count = std::min(last - first, span.last - row);
      copy_rows(span, row, count, to, piece);
      first += count;
      to += count;
    }
  }

 private:
  void copy_rows(const Span& span, std::uint64_t row, std::uint64_t count, std::size_t to, const Piece& piece) const {
    std::memcpy(piece.hi + to * d_, segment_.planes.hi.data() + row * d_, count * d_ * sizeof(std::uint16_t));
    if (piece.lo != nullptr)
      std::memcpy(piece.lo + to * d_, segment_.planes.lo.data() + row * d_, count * d_ * sizeof(std::uint16_t));
    std::memcpy(piece.squares + to, segment_.planes.norms.data() + row, count * sizeof(float));
    std::uint64_t place = span.place + (row - span.first) - format::count_rows(segment_.removed, span.first, row);
    for (std::uint64_t i = 0; i < count; ++i) {
      const bool there = !format::has_row(segment_.removed, row + i);
      piece.places[to + i] = {there ? static_cast<std::uint32_t>(place++) : no_place,
                              static_cast<std::uint32_t>(span.list),
                              static_cast<std::uint32_t>(first_origin_ + row + i)};
      piece.ids[to + i] = format::has_row(hidden_, row + i) ? -1
                          : segment_.ids.empty()            ? static_cast<std::int64_t>(first_id_ + row + i)
                                                            : segment_.ids[row + i];
    }
  }

  const format::SegmentView& segment_;
  std::size_t d_;
  std::uint64_t first_id_, first_origin_;
  std::span<const Span> spans_;
  std::span<const std::uint64_t> hidden_;
  std::vector<std::uint64_t> begins_{0};
};

/// The tables of the lists, made on the host in the form that they have on the device.
std::vector<char> tables_of(const Corpus& corpus, const Layout& layout) {
  Arena counter;
  const Tables count_only(counter, corpus.nlist, layout.partial);
  std::vector<char> image(counter.used());
  Arena arena(image.data());
  const Tables t(arena, corpus.nlist, layout.partial);
  std::copy(layout.begins.begin(), layout.begins.end(), t.begins);
  std::copy(layout.sizes.begin(), layout.sizes.end(), t.sizes);
  t.sizes[corpus.nlist] = layout.places;
  for (const auto& segment : corpus.segments) {
    for (std::size_t l = 0; l < corpus.nlist; ++l) t.residuals[l] = std::max(t.residuals[l], bound_of(segment, l));
  }
  t.residuals[corpus.nlist] = *std::max_element(t.residuals, t.residuals + corpus.nlist);
  if (!layout.partial) return image;
  std::copy(layout.whole.begin(), layout.whole.end(), t.whole);
  std::copy(layout.skipped.begin(), layout.skipped.end(), t.skipped);
  return image;
}

}  // namespace

DeviceCorpus::DeviceCorpus(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
DeviceCorpus::~DeviceCorpus() = default;
std::uint64_t DeviceCorpus::bytes() const noexcept { return impl_->bytes; }
std::uint64_t DeviceCorpus::rows() const noexcept { return impl_->rows; }

DeviceCorpus::Impl::Prefix DeviceCorpus::Impl::prefix_of(std::uint64_t max_codes) const noexcept {
  if (max_codes == 0) return {places, rows};
  Prefix prefix{0, 0};
  for (std::size_t l = 0; l < sizes.size(); ++l) {
    // max_codes cuts whole lists; of what it leaves, rows before a part are not here.
    const std::uint64_t all = whole_sizes.empty() ? sizes[l] : whole_sizes[l];
    const std::uint64_t cut = std::min(all, max_codes), before = skipped.empty() ? 0 : skipped[l];
    const std::uint64_t here = cut < before ? 0 : std::min<std::uint64_t>(cut - before, sizes[l]);
    prefix.rows += here;
    if (here < sizes[l]) return {prefix.places + static_cast<std::uint32_t>(here), prefix.rows};
    prefix.places += static_cast<std::uint32_t>(padded_rows(here));
    max_codes -= cut;
  }
  return prefix;
}

std::size_t corpus_bytes(const Corpus& corpus, std::uint32_t places, bool partial) {
  Arena arena;
  const Arrays arrays(arena, corpus, places, partial);
  return arena.used();
}

std::size_t loading_bytes(const Corpus& corpus) {
  return 2 * piece_bytes(piece_rows(corpus), corpus.dim, has_lo(corpus));
}

void require_memory(std::uint64_t bytes, std::uint64_t rows) {
  std::size_t free_bytes = 0, total_bytes = 0;
  check_status(IVF_GPU(MemGetInfo)(&free_bytes, &total_bytes), "memory information");
  if (bytes <= free_bytes) return;
  throw Error(ErrorKind::failed, "expected " + std::to_string(bytes) + " bytes of device memory for " +
                                     std::to_string(rows) + " rows, found " + std::to_string(free_bytes) + " free of " +
                                     std::to_string(total_bytes) + "; free memory or search the index on the CPU");
}

std::unique_ptr<DeviceCorpus> Loader::bring(const KeptRows& kept, const Layout& layout,
                                            std::shared_ptr<DeviceMemory> memory, HiddenRows hidden) const {
  const Corpus& corpus = kept.corpus();
  const std::size_t d = corpus.dim, rows_together = piece_rows(corpus);
  const unsigned steps = steps_of(corpus);
  const bool with_lo = has_lo(corpus);
  Arena arena(memory->data());
  const Arrays arrays(arena, corpus, layout.places, layout.partial);

  staging.expect(piece_bytes(rows_together, d, with_lo));
  const std::vector<char> tables = tables_of(corpus, layout);
  staging.copy(arrays.tables.begins, tables.data(), tables.size(), stream);
  launch_clear_rows(arrays.halves, arrays.ids, static_cast<std::uint32_t>(Arrays::with_spare(layout.places)), stream);
  // What pads the lists is multiplied like any row.
  zero(arrays.hi, Arrays::values(corpus, layout.places), stream);
  if (with_lo) zero(arrays.lo, Arrays::values(corpus, layout.places), stream);

  UploadArgs args{};
  args.d = static_cast<unsigned>(d);
  args.steps = steps;
  args.inner_product = corpus.inner_product;
  args.to_hi = arrays.hi;
  args.to_lo = with_lo ? arrays.lo : nullptr;
  args.to_halves = arrays.halves;
  args.to_ids = arrays.ids;
  args.to_origins = arrays.origins;
  args.to_norms = reinterpret_cast<unsigned*>(arrays.tables.norms);
  args.to_norm = args.to_norms + corpus.nlist;
  char* const device_pieces[2] = {pieces, pieces + loading_bytes(corpus) / 2};
  unsigned turn = 0;
  const std::vector<std::uint64_t> sets = set_begins(corpus);
  std::uint64_t first_id = 0;
  auto span = layout.spans.begin();
  for (std::size_t s = 0; s < corpus.segments.size(); ++s) {
    const auto first_span = span;
    while (span != layout.spans.end() && span->segment == s) ++span;
    const SegmentRows rows(corpus, s, first_id, sets[s] * 64, {first_span, span},
                           hidden.empty() ? std::span<const std::uint64_t>() : hidden[s]);
    const bool piece_has_lo = !corpus.segments[s].planes.lo.empty();
    for (std::uint64_t first = 0; first < rows.count(); first += rows_together) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(rows_together, rows.count() - first));
      const std::size_t bytes = piece_bytes(count, d, piece_has_lo);
      Arena host_arena(staging.next(bytes)), device_arena(device_pieces[turn]);
      const Piece host(host_arena, count, d, piece_has_lo), device(device_arena, count, d, piece_has_lo);
      constexpr std::size_t grain = 1024;
      parallel_for(threads, count, grain, [&](std::size_t begin, std::size_t end, unsigned) {
        rows.copy(first + begin, first + end, begin, host);
      });
      check_status(IVF_GPU(MemcpyAsync)(device.hi, host.hi, bytes, IVF_GPU(MemcpyHostToDevice), stream),
                   "copy to the device");
      staging.copied(stream);
      args.hi = device.hi;
      args.lo = device.lo;
      args.squares = device.squares;
      args.ids = device.ids;
      args.places = device.places;
      args.rows = static_cast<std::uint32_t>(count);
      launch_upload(args, stream);
      turn ^= 1;
    }
    first_id += corpus.segments[s].rows;
  }

  auto impl = std::make_unique<DeviceCorpus::Impl>();
  impl->memory = std::move(memory);
  impl->bytes = arena.used();
  impl->origins = arrays.origins;
  impl->set_begins = sets;
  impl->rows = layout.rows;
  impl->places = layout.places;
  impl->sizes = layout.sizes;
  if (layout.partial) {
    impl->whole_sizes = layout.whole;
    impl->skipped = layout.skipped;
    impl->device_whole_sizes = arrays.tables.whole;
    impl->device_skipped = arrays.tables.skipped;
  }
  std::vector<std::uint32_t> by_size = layout.sizes;
  std::sort(by_size.begin(), by_size.end(), std::greater<>());
  impl->largest.push_back(0);
  for (const std::uint32_t size : by_size) impl->largest.push_back(impl->largest.back() + size);
  CorpusView& view = impl->lists;
  view.hi = arrays.hi;
  view.lo = with_lo ? arrays.lo : nullptr;
  view.halves = arrays.halves;
  view.ids = arrays.ids;
  view.begins = arrays.tables.begins;
  view.sizes = arrays.tables.sizes;
  view.residuals = arrays.tables.residuals;
  view.norms = arrays.tables.norms;
  view.nlist = static_cast<std::uint32_t>(corpus.nlist);
  view.d = args.d;
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

void check_hidden(HiddenRows hidden, const std::vector<std::uint64_t>& begins) {
  if (hidden.size() + 1 != begins.size()) {
    throw Error(ErrorKind::misuse, "expected a set of hidden rows for each of " + std::to_string(begins.size() - 1) +
                                       " segments, found " + std::to_string(hidden.size()));
  }
  for (std::size_t s = 0; s < hidden.size(); ++s) {
    const std::size_t words = begins[s + 1] - begins[s];
    if (hidden[s].empty() || hidden[s].size() == words) continue;
    throw Error(ErrorKind::misuse, "expected a set of hidden rows of " + std::to_string(words) + " words for segment " +
                                       std::to_string(s) + ", found " + std::to_string(hidden[s].size()));
  }
}

std::unique_ptr<DeviceCorpus> hide_rows(const DeviceCorpus& corpus, HiddenRows hidden, Allocator& allocator,
                                        Staging& staging, Stream stream) {
  const DeviceCorpus::Impl& all = corpus.impl();
  const std::vector<std::uint64_t>& begins = all.set_begins;
  check_hidden(hidden, begins);
  const auto handle = static_cast<StreamHandle>(stream);
  const std::size_t places = std::size_t{all.places} + spare_places;
  float* halves = nullptr;
  std::int64_t* ids = nullptr;
  const auto take = [&](Arena& arena) {
    halves = arena.take<float>(places);
    ids = arena.take<std::int64_t>(places);
  };
  auto impl = std::make_unique<DeviceCorpus::Impl>(all);
  Arena counter;
  take(counter);
  impl->bytes = counter.used();
  require_memory(impl->bytes + begins.back() * sizeof(std::uint64_t), all.rows);
  impl->filter_memory = std::make_shared<DeviceMemory>(allocator, impl->bytes, handle);
  Arena arena(impl->filter_memory->data());
  take(arena);
  impl->lists.halves = impl->whole.halves = halves;
  impl->lists.ids = impl->whole.ids = ids;

  const DeviceMemory sets(allocator, begins.back() * sizeof(std::uint64_t), handle);
  auto* words = reinterpret_cast<std::uint64_t*>(sets.data());
  for (std::size_t s = 0; s < hidden.size(); ++s) {
    if (hidden[s].empty()) {
      zero(words + begins[s], begins[s + 1] - begins[s], stream);
    } else {
      staging.copy(words + begins[s], hidden[s].data(), hidden[s].size_bytes(), stream);
    }
  }
  launch_hide({all.lists.halves, all.lists.ids, all.origins, words, static_cast<std::uint32_t>(places), halves, ids},
              stream);
  return std::make_unique<DeviceCorpus>(std::move(impl));
}

}  // namespace ivf::detail::gpu
