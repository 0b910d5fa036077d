#include "backends/cpu/scan_job.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <new>

#include "parallel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ivf::detail::cpu {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::uint64_t rows_per_task = 8192;
// Rows of a first look while a query's threshold is still open. Every step after it takes as many rows as were seen
// before, so that each doubling of the rows keeps about k candidates more.
constexpr std::size_t opening_rows = 32;

std::size_t round_up(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

std::size_t candidate_capacity(std::size_t k) { return k + std::max<std::size_t>(k, 32); }

/// Holds a query's lock: a few dozen instructions, so spinning is right.
class SpinGuard {
 public:
  explicit SpinGuard(std::atomic<bool>& flag) : flag_(flag) {
    while (flag_.exchange(true, std::memory_order_acquire)) {
      while (flag_.load(std::memory_order_relaxed)) {
#if defined(__x86_64__)
        _mm_pause();
#endif
      }
    }
  }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;
  ~SpinGuard() { flag_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool>& flag_;
};

}  // namespace

ScanJob::ScanJob(const Kernels& kernels, WorkspacePool& workspaces, const ScanRequest& request, std::size_t first,
                 std::size_t last, std::size_t k, float limit)
    : kernels_(kernels),
      workspaces_(workspaces),
      request_(request),
      corpus_(*request.corpus),
      first_(first),
      k_(k),
      fixed_limit_(limit),
      capacity_(candidate_capacity(k)),
      states_(last - first),
      prepared_stride_(round_up(kernels.scan->prepared_bytes(request.corpus->dim), 64)) {
  if (k_ > 0) {
    pool_ = Buffer<Candidate>(states_.size() * capacity_);
    heaps_ = Buffer<float>(states_.size() * k_);
  }
  prepared_ = Buffer<char>(states_.size() * prepared_stride_);
  parallel_for(request_.threads, states_.size(), 256, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t q = begin; q < end; ++q) prepare(q);
  });
  std::uint64_t start = 0;
  for (const auto& segment : corpus_.segments) {
    segment_start_.push_back(start);
    start += segment.rows;
  }
  list_rows_.assign(corpus_.nlist, 0);
  bool radii_known = !corpus_.segments.empty();
  for (const auto& segment : corpus_.segments) {
    for (std::size_t l = 0; l < corpus_.nlist; ++l) list_rows_[l] += segment.offsets[l + 1] - segment.offsets[l];
    radii_known &= segment.radii.size() == corpus_.nlist;
  }
  if (radii_known && request_.probes.bounds != nullptr && !corpus_.inner_product) {
    list_radius_.assign(corpus_.nlist, 0.0f);
    for (const auto& segment : corpus_.segments) {
      for (std::size_t l = 0; l < corpus_.nlist; ++l) list_radius_[l] = std::max(list_radius_[l], segment.radii[l]);
    }
  }
  if (request_.max_codes != 0)
    row_limits_ = cut_by_max_codes(request_.probes, list_rows_, first, last, request_.max_codes);
}

std::size_t ScanJob::bytes_per_query(const Kernels& kernels, std::size_t d, std::size_t k) noexcept {
  return sizeof(QueryState) + candidate_capacity(k) * sizeof(Candidate) + k * sizeof(float) +
         round_up(kernels.scan->prepared_bytes(d), 64);
}

void ScanJob::prepare(std::size_t q) {
  const float* query = request_.queries.row(first_ + q);
  double square = 0, residual = 0;
  kernels_.rows->residual(query, corpus_.dim, &residual, &square);
  states_[q].norms = query_norms(square, kernels_.scan->rounds_queries ? residual : 0.0, corpus_.dim);
  states_[q].limit.store(k_ == 0 ? fixed_limit_ : infinity, std::memory_order_relaxed);
  if (request_.hints != nullptr && k_ == 1) {
    const auto& planes = corpus_.segments.front().planes;
    const auto row = static_cast<std::uint64_t>(request_.hints[first_ + q]);
    float value = 0;
    const RefineArgs args{query, planes.hi.data(), planes.lo.empty() ? nullptr : planes.lo.data(), corpus_.dim, &row, 1,
                          &value};
    (corpus_.inner_product ? kernels_.rows->refine_ip : kernels_.rows->refine_l2)(&args);
    // The row itself passes this threshold when the scan meets it.
    heaps_[q] = corpus_.inner_product ? -value : value;
    states_[q].heap_size = 1;
    states_[q].limit.store(heaps_[q], std::memory_order_relaxed);
  }
  kernels_.scan->prepare(query, corpus_.dim, prepared_.data() + q * prepared_stride_);
}

void ScanJob::run(SearchMode mode, SearchStats& stats) {
  if (mode == SearchMode::matrix) {
    run_matrix(stats);
  } else {
    run_csr(stats);
  }
}

void ScanJob::run_csr(SearchStats& stats) {
  // Nearest lists first: they set thresholds that discard most of the rest.
  const std::size_t ends[] = {1, 4, ranks()};
  std::size_t begin = 0;
  const std::size_t member_block = tiles_per_task * kernels_.scan->tile;
  for (std::size_t end : ends) {
    // Without probes every query scans every list: one round, and no order among them.
    end = request_.probes.lists == nullptr ? ranks() : std::min(end, ranks());
    if (end <= begin) continue;
    const Groups groups = group_by_list(request_.probes, corpus_.nlist, first_, first_ + states_.size(), begin, end);
    run_tasks(cut_tasks(groups, list_rows_, member_block, rows_per_task), groups, stats);
    begin = end;
  }
}

void ScanJob::run_matrix(SearchStats& stats) {
  // One task a (rank, query), nearest lists of all queries first; the probes of one query spread over the threads.
  Groups groups;
  std::vector<ScanTask> tasks;
  for (std::size_t rank = 0; rank < ranks(); ++rank) {
    for (std::size_t q = 0; q < states_.size(); ++q) {
      const std::int64_t list = request_.probes.lists == nullptr ? static_cast<std::int64_t>(rank)
                                                                 : request_.probes.lists[(first_ + q) * ranks() + rank];
      if (list < 0) continue;
      const std::size_t member = groups.members.size();
      groups.members.push_back({static_cast<std::uint32_t>(q), static_cast<std::uint32_t>(rank)});
      const std::uint64_t rows = list_rows_[static_cast<std::size_t>(list)];
      for (std::uint64_t row = 0; row < rows; row += rows_per_task) {
        tasks.push_back(
            {static_cast<std::uint32_t>(list), member, member + 1, row, std::min(row + rows_per_task, rows)});
      }
    }
  }
  run_tasks(tasks, groups, stats);
}

void ScanJob::run_tasks(const std::vector<ScanTask>& tasks, const Groups& groups, SearchStats& stats) {
  if (tasks.empty()) return;
  const unsigned threads = static_cast<unsigned>(std::min<std::size_t>(request_.threads, tasks.size()));
  std::vector<std::unique_ptr<Workspace>> workspaces(threads);
  parallel_for(threads, tasks.size(), 1, [&](std::size_t begin, std::size_t end, unsigned thread) {
    if (!workspaces[thread]) workspaces[thread] = workspaces_.take(kernels_, corpus_.dim);
    for (std::size_t i = begin; i < end; ++i) scan(tasks[i], groups.members.data(), *workspaces[thread]);
  });
  for (auto& work : workspaces) {
    if (!work) continue;
    stats.lists_scanned += work->stats.lists_scanned;
    stats.lists_pruned += work->stats.lists_pruned;
    stats.rows_scanned += work->stats.rows_scanned;
    stats.rows_refined += work->stats.rows_refined;
    stats.bytes_scanned += work->stats.bytes_scanned;
    workspaces_.put_back(std::move(work));
  }
}

bool ScanJob::pruned(std::uint32_t query, std::uint32_t rank, std::uint32_t list) const noexcept {
  if (list_radius_.empty()) return false;
  // Every row of the list is at least ‖q−c‖ − r away. The bound is at most the canonical value, which is within half an
  // ulp of ‖q−c‖²; the margin of 2^-20 covers that, the square root and the rounding of the row's own value. Where
  // float32 ends, half an ulp is not relative: an infinite value only says that ‖q−c‖² exceeds the largest float, and
  // denormals are 2^-149 apart.
  const double value = request_.probes.bounds[(first_ + query) * ranks() + rank];
  const double distance =
      std::sqrt(std::max(0.0, std::min(value, double{std::numeric_limits<float>::max()}) - 0x1p-149));
  const double nearest = distance * (1 - 0x1p-20) - static_cast<double>(list_radius_[list]) * (1 + 0x1p-20);
  return nearest > 0 && nearest * nearest * (1 - 0x1p-20) - 0x1p-149 >
                            static_cast<double>(states_[query].limit.load(std::memory_order_relaxed));
}

void ScanJob::scan(const ScanTask& task, const Groups::Member* members, Workspace& work) {
  const std::size_t tile_size = kernels_.scan->tile;
  const void* rows[max_tile];
  work.tile_count = 0;
  work.few = task.last_member - task.first_member <= few_queries ? kernels_.few : nullptr;
  std::uint64_t last_row = 0;
  std::size_t member = task.first_member;
  while (member < task.last_member) {
    auto& tile = work.tiles[work.tile_count];
    tile.count = 0;
    for (; member < task.last_member && tile.count < tile_size; ++member) {
      const auto [query, rank] = members[member];
      const std::uint64_t limit =
          row_limits_.empty() ? task.last_row : std::min(task.last_row, row_limits_[query * ranks() + rank]);
      if (limit <= task.first_row) continue;
      if (pruned(query, rank, task.list)) {
        work.stats.lists_pruned += task.first_row == 0;
        continue;
      }
      work.stats.lists_scanned += task.first_row == 0;
      work.stats.rows_scanned += limit - task.first_row;
      last_row = std::max(last_row, limit);
      tile.query[tile.count] = query;
      tile.row_limit[tile.count] = limit;
      rows[tile.count++] = prepared_.data() + query * prepared_stride_;
      __builtin_prefetch(&states_[query].norms);
    }
    if (tile.count == 0) continue;
    (work.few != nullptr ? work.few->pack : kernels_.scan->pack)(
        rows, tile.count, corpus_.dim, work.packed.data() + work.tile_count * work.packed_stride);
    ++work.tile_count;
  }
  if (work.tile_count == 0) return;

  std::uint64_t position = 0;  // In the list, of the segment's first row.
  for (std::size_t s = 0; s < corpus_.segments.size() && position < last_row; ++s) {
    const auto& segment = corpus_.segments[s];
    const std::uint64_t begin = segment.offsets[task.list], size = segment.offsets[task.list + 1] - begin;
    const std::uint64_t from = std::max(position, task.first_row), to = std::min(position + size, last_row);
    if (from < to) {
      const double rho = segment.residuals.empty() ? 0x1p-8 : static_cast<double>(segment.residuals[task.list]);
      for (std::uint64_t row = from; row < to; row += work.slice_rows) {
        const std::uint64_t stop = std::min<std::uint64_t>(row + work.slice_rows, to);
        scan_slice(segment, segment_start_[s], begin + (row - position), begin + (stop - position), row, rho, work);
      }
    }
    position += size;
  }
}

void ScanJob::scan_slice(const format::SegmentView& segment, std::uint64_t segment_start, std::uint64_t begin,
                         std::uint64_t end, std::uint64_t list_position, double rho, Workspace& work) {
  const std::size_t d = corpus_.dim, rows = end - begin;
  work.stats.bytes_scanned += rows * d * sizeof(std::uint16_t);
  const float* norms = segment.planes.norms.data() + begin;
  for (std::size_t block = 0; block * scan_block_rows < rows; ++block) {
    const std::size_t from = block * scan_block_rows, to = std::min<std::size_t>(rows, from + scan_block_rows);
    float largest = 0;
    for (std::size_t r = from; r < to; ++r) {
      largest = std::max(largest, norms[r]);
      work.half_norms[r] = corpus_.inner_product ? 0.0f : norms[r] * 0.5f;
    }
    const double norm = norm_bound(largest);
    const bool comparable = norm < largest_norm;
    work.block_norms[block] = comparable ? static_cast<float>(norm * (1 + 0x1p-22)) : infinity;
    work.block_slops[block] = !comparable ? infinity : corpus_.inner_product ? 0.0f : largest * 0x1p-21f;
  }

  const std::uint16_t* hi = segment.planes.hi.data() + begin * d;
  // In place, the last block reads on into the next list, whose products are ignored; at the end of the plane it
  // cannot.
  const bool staged =
      work.few == nullptr && (!kernels_.scan->direct(hi, d) || begin + round_up(rows, scan_block_rows) > segment.rows);
  const std::size_t row_bytes = staged ? kernels_.scan->staged_bytes(d) : d * sizeof(std::uint16_t);
  const char* rows_data = reinterpret_cast<const char*>(hi);
  if (staged) {
    kernels_.scan->stage(hi, rows, d, work.staged.data());
    rows_data = work.staged.data();
  }
  for (std::size_t i = 0; i < work.tile_count; ++i) {
    auto& tile = work.tiles[i];
    tile.open = false;
    for (std::size_t lane = 0; lane < kernels_.scan->tile; ++lane) {
      if (lane >= tile.count) {
        tile.t[lane] = tile.kappa[lane] = 0;
        continue;
      }
      const QueryState& state = states_[tile.query[lane]];
      const float limit = state.limit.load(std::memory_order_relaxed);
      tile.slope[lane] = kappa(state.norms, rho);
      tile.kappa[lane] = static_cast<float>(tile.slope[lane]);
      tile.t[lane] = discard_offset(state.norms, limit, corpus_.inner_product);
      tile.open |= limit == infinity;
    }
    const auto scan_args = [&](std::size_t first, std::size_t count) {
      return ScanArgs{rows_data + first * row_bytes,
                      staged,
                      count,
                      d,
                      i == 0,
                      work.packed.data() + i * work.packed_stride,
                      tile.count,
                      work.half_norms + first,
                      work.block_norms + first / scan_block_rows,
                      work.block_slops + first / scan_block_rows,
                      tile.t,
                      tile.kappa,
                      work.scratch.data(),
                      work.dots.data(),
                      work.tags.data()};
    };
    if (tile.open && k_ != 0 && rows / maxima_rows >= k_)
      open_thresholds(scan_args(0, rows), list_position + rows, tile, work);
    const bool opening = tile.open;
    std::size_t row = 0;
    while (row < rows) {
      // While a threshold is open, take as many rows as were seen before.
      const std::size_t step = std::min(rows - row, opening ? std::max(opening_rows, tile.open ? 0 : row) : rows);
      const ScanArgs args = scan_args(row, step);
      const std::size_t found = (work.few != nullptr ? work.few->scan : kernels_.scan->scan)(&args);
      if (found > 0) collect(i, found, segment, begin + row, row, segment_start, list_position + row, work);
      row += step;
    }
  }
}

void ScanJob::open_thresholds(const ScanArgs& args, std::uint64_t list_end, Tile& tile, Workspace& work) {
  // Rows of different groups are different rows: at least k of them are as good as the k-th best of the groups' best.
  float norm = 0;
  for (std::size_t block = 0; block * scan_block_rows < args.rows; ++block)
    norm = std::max(norm, args.block_norms[block]);
  if (!(norm < largest_norm)) return;
  (work.few != nullptr ? work.few->maxima : kernels_.scan->maxima)(&args, work.maxima.data());
  const std::size_t stride = work.few != nullptr ? few_queries : kernels_.scan->tile;
  const std::size_t groups = (args.rows + maxima_rows - 1) / maxima_rows;
  work.column.resize(groups);
  tile.open = false;
  for (std::size_t lane = 0; lane < tile.count; ++lane) {
    QueryState& state = states_[tile.query[lane]];
    if (state.limit.load(std::memory_order_relaxed) != infinity) continue;
    if (tile.row_limit[lane] < list_end || !(state.norms.norm < largest_norm)) {
      tile.open = true;
      continue;
    }
    for (std::size_t g = 0; g < groups; ++g) work.column[g] = work.maxima[g * stride + lane];
    const auto kth = work.column.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(work.column.begin(), kth, work.column.end(), std::greater<>());
    const float limit =
        opening_limit(state.norms, *kth, static_cast<double>(norm), tile.slope[lane], corpus_.inner_product);
    lower_limit(state, limit);
    tile.t[lane] = discard_offset(state.norms, limit, corpus_.inner_product);
  }
}

void ScanJob::lower_limit(QueryState& state, float limit) noexcept {
  float seen = state.limit.load(std::memory_order_relaxed);
  while (limit < seen && !state.limit.compare_exchange_weak(seen, limit, std::memory_order_relaxed)) {
  }
}

void ScanJob::collect(std::size_t tile_index, std::size_t found, const format::SegmentView& segment,
                      std::uint64_t first_row, std::size_t slice_row, std::uint64_t segment_start,
                      std::uint64_t list_position, Workspace& work) {
  auto& tile = work.tiles[tile_index];
  std::fill_n(work.lane_count, tile.count, std::size_t{0});
  for (std::size_t i = 0; i < found; ++i) {
    const std::size_t lane = work.tags[i] % max_tile, row = work.tags[i] / max_tile;
    if (list_position + row >= tile.row_limit[lane]) continue;
    if (work.lane_count[lane] == 0) prefetch(tile.query[lane]);
    const ScoreBounds bounds =
        score_bounds(states_[tile.query[lane]].norms, work.dots[i], segment.planes.norms[first_row + row],
                     static_cast<double>(work.block_norms[(slice_row + row) / scan_block_rows]), tile.slope[lane],
                     corpus_.inner_product);
    work.lane_candidates[lane * lane_stride + work.lane_count[lane]++] = {bounds.lower, bounds.upper,
                                                                          segment_start + first_row + row};
  }
  const bool was_open = tile.open;
  tile.open = false;
  for (std::size_t lane = 0; lane < tile.count; ++lane) {
    const QueryState& state = states_[tile.query[lane]];
    if (work.lane_count[lane] > 0) {
      add(tile.query[lane], work.lane_candidates.data() + lane * lane_stride, work.lane_count[lane], work.stats);
      tile.t[lane] = discard_offset(state.norms, state.limit.load(std::memory_order_relaxed), corpus_.inner_product);
    }
    tile.open |= was_open && state.limit.load(std::memory_order_relaxed) == infinity;
  }
}

void ScanJob::prefetch(std::uint32_t query) const noexcept {
  if (k_ == 0) return;
  // The states of thousands of queries do not fit the caches: fetch what add() will touch while other lanes are
  // handled.
  __builtin_prefetch(heaps_.data() + query * k_, 1);
  __builtin_prefetch(pool_.data() + query * capacity_ + states_[query].count, 1);
}

void ScanJob::add(std::uint32_t query, const Candidate* candidates, std::size_t count, SearchStats& stats) {
  QueryState& state = states_[query];
  const SpinGuard guard(state.locked);
  if (k_ == 0) {
    state.hits.insert(state.hits.end(), candidates, candidates + count);
    return;
  }
  Candidate* pool = pool_.data() + query * capacity_;
  float* heap = heaps_.data() + query * k_;
  float limit = state.limit.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i) {
    const Candidate& candidate = candidates[i];
    if (candidate.lower > limit) continue;
    if (state.count == capacity_) {
      make_room(state, pool, query, stats);
      limit = state.limit.load(std::memory_order_relaxed);
      if (candidate.lower > limit) continue;
    }
    pool[state.count++] = candidate;
    if (state.heap_size < k_) {
      heap[state.heap_size++] = candidate.upper;
      if (state.heap_size < k_) continue;
      std::make_heap(heap, heap + k_);
    } else if (candidate.upper < heap[0]) {
      replace_largest(heap, k_, candidate.upper);
    } else {
      continue;
    }
    lower_limit(state, heap[0]);
    limit = std::min(limit, heap[0]);
  }
}

void ScanJob::make_room(QueryState& state, Candidate* candidates, std::uint32_t query, SearchStats& stats) {
  std::size_t left = drop_above(candidates, state.count, state.limit.load(std::memory_order_relaxed));
  if (left > capacity_ - capacity_ / 8) {
    // The bounds do not tell the rows apart: decide canonically, and keep k.
    refine(query, candidates, left, stats);
    std::nth_element(candidates, candidates + (k_ - 1), candidates + left,
                     [this](const Candidate& a, const Candidate& b) {
                       return a.lower != b.lower ? a.lower < b.lower : id_of(a.position()) < id_of(b.position());
                     });
    left = k_;
    float* heap = heaps_.data() + query * k_;
    for (std::size_t i = 0; i < k_; ++i) heap[i] = candidates[i].upper;
    std::make_heap(heap, heap + k_);
    lower_limit(state, heap[0]);
  }
  state.count = static_cast<std::uint32_t>(left);
}

std::size_t ScanJob::segment_of(std::uint64_t position) const noexcept {
  return static_cast<std::size_t>(std::upper_bound(segment_start_.begin(), segment_start_.end(), position) -
                                  segment_start_.begin()) -
         1;
}

idx_t ScanJob::id_of(std::uint64_t position) const noexcept {
  const std::size_t s = segment_of(position);
  const auto& ids = corpus_.segments[s].ids;
  return ids.empty() ? static_cast<idx_t>(position) : ids[position - segment_start_[s]];
}

void ScanJob::refine(std::uint32_t query, Candidate* candidates, std::size_t count, SearchStats& stats) {
  constexpr std::size_t batch = 64;
  std::uint64_t rows[batch];
  float values[batch];
  Candidate* wanted[batch];
  // Rows of one segment stay together; with several, order by position.
  if (corpus_.segments.size() > 1) {
    std::sort(candidates, candidates + count,
              [](const Candidate& a, const Candidate& b) { return a.position() < b.position(); });
  }
  const auto flush = [&](std::size_t segment, std::size_t n) {
    const auto& planes = corpus_.segments[segment].planes;
    const RefineArgs args{request_.queries.row(first_ + query),
                          planes.hi.data(),
                          planes.lo.empty() ? nullptr : planes.lo.data(),
                          corpus_.dim,
                          rows,
                          n,
                          values};
    (corpus_.inner_product ? kernels_.rows->refine_ip : kernels_.rows->refine_l2)(&args);
    for (std::size_t i = 0; i < n; ++i) {
      wanted[i]->lower = wanted[i]->upper = corpus_.inner_product ? -values[i] : values[i];
      wanted[i]->row |= Candidate::exact_bit;
    }
    stats.rows_refined += n;
  };
  std::size_t n = 0, current = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (candidates[i].exact()) continue;
    const std::uint64_t position = candidates[i].position();
    const std::size_t segment = corpus_.segments.size() == 1 ? 0 : segment_of(position);
    if (n == batch || (n > 0 && segment != current)) {
      flush(current, n);
      n = 0;
    }
    current = segment;
    rows[n] = position - segment_start_[segment];
    wanted[n++] = &candidates[i];
  }
  if (n > 0) flush(current, n);
}

void ScanJob::finish(std::size_t q, std::vector<Hit>& hits, SearchStats& stats) {
  QueryState& state = states_[q];
  const auto query = static_cast<std::uint32_t>(q);
  Candidate* candidates = k_ == 0 ? state.hits.data() : pool_.data() + q * capacity_;
  std::size_t count = k_ == 0 ? state.hits.size() : state.count;
  if (k_ != 0) count = drop_above(candidates, count, state.limit.load(std::memory_order_relaxed));
  refine(query, candidates, count, stats);
  hits.clear();
  for (std::size_t i = 0; i < count; ++i) {
    if (k_ == 0 && !(candidates[i].lower < fixed_limit_)) continue;
    hits.push_back({candidates[i].lower, id_of(candidates[i].position())});
  }
  std::sort(hits.begin(), hits.end());
  if (k_ != 0 && hits.size() > k_) hits.resize(k_);
}

void ScanJob::finish_set(std::size_t q, std::vector<Hit>& hits, SearchStats& stats) {
  QueryState& state = states_[q];
  const auto query = static_cast<std::uint32_t>(q);
  Candidate* candidates = pool_.data() + q * capacity_;
  std::size_t count = drop_above(candidates, state.count, state.limit.load(std::memory_order_relaxed));
  hits.clear();
  if (count > k_) {
    const auto by_lower = [](const Candidate& a, const Candidate& b) { return a.lower < b.lower; };
    std::nth_element(candidates, candidates + k_, candidates + count, by_lower);
    const float outside = candidates[k_].lower;
    // Fewer than k rows can be better than one whose upper bound lies below the (k+1)-th lower bound: it belongs to the
    // set.
    Candidate* doubtful =
        std::partition(candidates, candidates + count, [&](const Candidate& c) { return c.upper < outside; });
    const auto certain = static_cast<std::size_t>(doubtful - candidates);
    refine(query, doubtful, count - certain, stats);
    std::nth_element(doubtful, candidates + k_, candidates + count, [this](const Candidate& a, const Candidate& b) {
      return a.lower != b.lower ? a.lower < b.lower : id_of(a.position()) < id_of(b.position());
    });
    count = k_;
  }
  for (std::size_t i = 0; i < count; ++i) hits.push_back({candidates[i].lower, id_of(candidates[i].position())});
  std::sort(hits.begin(), hits.end());
}

}  // namespace ivf::detail::cpu
