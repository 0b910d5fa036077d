// ivf search: looks up queries in an index and writes, or judges, what it finds.

#include <algorithm>
#include <cmath>

#include "bench/measure.h"
#include "command.h"
#include "device_options.h"
#include "filtered_search.h"
#include "id_list.h"
#include "ivf/index.hpp"
#include "message.h"
#include "quality.h"
#include "results.h"
#include "rows.h"
#include "signals.h"
#include "stdout.h"
#include "summary.h"
#include "verification.h"

namespace ivf::cli {
namespace {

constexpr std::uint64_t default_nprobe = 16;
constexpr std::uint64_t most_queries_at_once = 65'536;
constexpr std::uint64_t first_radius_batch = 64;
/// More rows than this on a terminal are read by nobody.
constexpr std::uint64_t table_rows = 200;

class Search final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Find the k nearest rows of each query, or all rows within a radius. Results go to stdout: a table on a "
        "terminal, tab-separated lines (query, rank, id, distance) in a pipe. With -o they go to a file; with "
        "--truth, --verify or --json a summary takes their place on stdout.",
        R"(Examples:
  ivf search sift.ivf sift.hdf5 --nprobe 32 --truth sift.hdf5
  ivf search base.ivf queries.fvecs -k 100 -o ids.ivecs --out-distances d.fvecs
  ivf search base.ivf queries.npy -k 1 | cut -f 1,3
  ivf search base.ivf queries.npy -o jsonl:- | jq -c .ids
  ivf search base.ivf queries.fvecs --nprobe 64 --verify --min-recall 0.95
  ivf search base.ivf queries.fvecs --filter in-stock.txt
)");
    options.argument("INDEX", index_, "Index file made by `ivf train` and `ivf add`");
    options.argument("QUERIES", queries_, "Vectors to look up (`test` of an HDF5 file)");
    options.group("Search options");
    options.count("-k", k_, "N", "Neighbours of each query", 1, most_k).shows("10");
    options.number("--radius", radius_, "R",
                   "All rows with a distance below R (l2: squared) or an inner product above R", -3.4e38, 3.4e38);
    options.count("--nprobe", nprobe_, "N", "Lists to scan for each query; nlist is exact", 1).shows("16");
    options.count("--max-codes", max_codes_, "N", "Rows to scan for each query at most; 0: no limit").shows("0");
    options.flag("--exact", exact_, "Scan all rows");
    options
        .choice<SearchMode>("--search-mode", mode_, "MODE",
                            "How the work is organised: auto, matrix (by query) or csr (by list); results are the same",
                            {{"auto", SearchMode::automatic}, {"matrix", SearchMode::matrix}, {"csr", SearchMode::csr}})
        .shows("auto");
    options.row_range(range_);
    options.group("Filter options");
    filter_.define(options);
    options.group("Output options");
    options.results(out_, out_distances_);
    options.force(force_);
    options.group("Quality options");
    options.text("--truth", truth_, "FILE", "True neighbours (`neighbors` of an HDF5 file): report recall@k");
    options.flag("--verify", verify_,
                 "Compare with an exact search: report recall@k; exit code 4 when a distance is wrong");
    options.min_recall(min_recall_);
    device_.define(options);
  }

  int run(Context& context) override {
    check_options();
    const bool summary_only = !truth_.empty() || verify_ || context.options.json;
    const bool any_output = !out_.empty() || !out_distances_.empty();
    if (!any_output && !summary_only) out_.push_back('-');
    results_on_stdout_ =
        (!out_.empty() && output(out_).pipe()) || (!out_distances_.empty() && output(out_distances_).pipe());
    cut_table_ = out_ == "-" && stdout_is_terminal();

    const auto index = load_index(index_, context.options.run(Console::interrupt_only()));
    index->to(device_.placement());
    info_ = index->info();
    place_ = index->device();
    RowSource source(queries_, datasets::Role::queries, range_, RowSource::Use::query);
    source.require_dim(info_.dim, index_);
    std::optional<TruthSource> truth;
    if (!truth_.empty()) {
      truth.emplace(truth_, k(), range_.start);
      if (source.known_rows()) truth->require_rows(*source.known_rows(), source.name());
    }
    filters_ = open_filters(filter_, range_.start, context.options.memory() / 8);
    const auto sink = open_sink();
    look_up(context, *index, source, truth, sink.get());
    throw_if_interrupted();
    if (sink) sink->finish();
    forget_signals();
    report(context, source.name());
    return judge(context);
  }

 private:
  std::uint64_t k() const { return k_.value_or(default_k); }
  std::uint64_t nprobe() const { return std::min<std::uint64_t>(nprobe_.value_or(default_nprobe), info_.nlist); }
  bool all_lists() const { return exact_ || (nprobe() == info_.nlist && max_codes_ == 0); }

  void check_options() const {
    if (exact_ && nprobe_) misuse("--exact and --nprobe contradict each other: an exact search scans every list");
    if (exact_ && max_codes_ != 0)
      misuse("--exact and --max-codes contradict each other: an exact search scans every row");
    if (radius_ && k_) misuse("--radius and -k contradict each other: a radius finds as many rows as there are");
    if (radius_ && (!truth_.empty() || verify_))
      misuse("--radius: recall is defined for k neighbours; drop --truth and --verify");
    if (!truth_.empty() && verify_) misuse("--truth and --verify both say what is right; choose one");
    if (min_recall_ && truth_.empty() && !verify_) misuse("--min-recall needs --truth or --verify to know the recall");
    if (parse_destination(queries_).pipe() && parse_destination(truth_).pipe())
      misuse("queries and truth cannot both come from one pipe");
    if (parse_destination(queries_).pipe() && is_standard_input(filter_.spec()))
      misuse("queries and a filter cannot both come from one pipe");
  }

  static Destination output(const std::string& spec) {
    return parse_destination(spec, stdout_is_terminal() ? TextFormat::table : TextFormat::tsv);
  }

  std::unique_ptr<ResultSink> open_sink() const {
    std::optional<Destination> out, distances;
    if (!out_.empty()) out = output(out_);
    if (!out_distances_.empty()) distances = output(out_distances_);
    if (out) check_destination(*out, force_);
    if (distances) check_destination(*distances, force_);
    if (!out && !distances) return nullptr;
    return open_results(out, distances, {info_.metric, radius_ ? 0 : static_cast<std::size_t>(k()), false});
  }

  SearchParams params(const Context& context, Progress progress) const {
    SearchParams result;
    static_cast<RunOptions&>(result) = context.options.run(std::move(progress));
    result.max_memory = context.options.memory() - batch_memory(context);
    result.k = static_cast<std::size_t>(k());
    result.nprobe = static_cast<std::size_t>(exact_ ? info_.nlist : nprobe());
    result.max_codes = max_codes_;
    result.mode = mode_;
    return result;
  }

  void look_up(Context& context, const Index& index, RowSource& source, std::optional<TruthSource>& truth,
               ResultSink* sink) {
    if (truth) recall_.emplace(static_cast<std::size_t>(k()));
    if (verify_) verification_.emplace(info_.metric, static_cast<std::size_t>(k()));
    std::vector<float> batch;
    while (source.next(batch, next_batch(context, source))) {
      const std::uint64_t first = source.rows_read() - source.batch_rows();
      const SearchParams search = params(context, batch_progress(context.console, first, source));
      const MatrixView queries = source.view(batch);
      for (std::size_t done = 0, taken = queries.rows; done < queries.rows; done += taken) {
        std::vector<FilteredQueries> filters(1);
        if (filters_ != nullptr) filters = filters_->next(queries.rows - done, taken);
        const MatrixView some = queries.slice(done, taken);
        if (radius_) {
          search_radius(index, some, filters, first + done, search, sink);
        } else {
          search_k(index, some, filters, first + done, search, truth, sink);
        }
      }
      nq_ += source.batch_rows();
    }
    context.console.clear();
  }

  /// A quarter of the memory is for queries and their results, the rest for the search itself.
  static std::uint64_t batch_memory(const Context& context) { return context.options.memory() / 4; }

  /// How many queries to look up at a time.
  std::size_t next_batch(const Context& context, const RowSource& source) const {
    std::uint64_t results = k() * (verify_ ? 2 : 1);
    std::uint64_t most = std::max<std::uint64_t>(1, source.known_rows().value_or(most_queries_at_once) - nq_);
    if (radius_) {
      // How many rows a radius finds is known only from the queries before: begin with few, and grow by steps.
      results = nq_ == 0 ? info_.rows : 2 * (hits_ / nq_ + 1);
      most = std::min(most, nq_ == 0 ? first_radius_batch : 4 * nq_);
    }
    // Ids and distances, and the ids once more in the form that they are written in.
    const std::uint64_t row_bytes = source.dim() * sizeof(float) + results * (sizeof(float) + 2 * sizeof(idx_t));
    return rows_that_fit(batch_memory(context), row_bytes, std::min(most, most_queries_at_once));
  }

  static Progress batch_progress(Console& console, std::uint64_t first, const RowSource& source) {
    const std::uint64_t total = source.expected();
    const std::uint64_t in_batch = source.batch_rows();
    return [&console, first, total, in_batch](const char* phase, std::uint64_t done, std::uint64_t batch_total) {
      const bool queries = batch_total == in_batch;
      console.progress(phase, queries ? first + done : done, queries ? total : batch_total);
    };
  }

  void search_k(const Index& index, MatrixView queries, const std::vector<FilteredQueries>& filters,
                std::uint64_t first, const SearchParams& search, std::optional<TruthSource>& truth, ResultSink* sink) {
    const Stopwatch watch;
    const SearchFunction<SearchResult> in_all = [&](MatrixView some, const SearchParams& how) {
      return index.search_exact(some, how);
    };
    const SearchFunction<SearchResult> in_lists = [&](MatrixView some, const SearchParams& how) {
      return index.search(some, how);
    };
    const SearchResult found = filtered_search(filters, queries, search, exact_ ? in_all : in_lists, filter_use_);
    search_ms_ += watch.milliseconds();
    bench::accumulate(stats_, found.stats);
    if (truth) recall_->add(found.ids, found.k, truth->next(queries.rows), truth->width(), queries.rows);
    if (verification_) {
      // By another way than that of narrow filters, which is what may be wrong.
      auto scanned = filters;
      for (FilteredQueries& group : scanned) group.filter.plan = FilterPlan::scan;
      FilterUse unused;
      verification_->add(first, found, filtered_search(scanned, queries, search, in_all, unused), all_lists());
    }
    if (sink) sink->write(shown({first, queries.rows, found.k, {}, found.distances, found.ids}));
  }

  void search_radius(const Index& index, MatrixView queries, const std::vector<FilteredQueries>& filters,
                     std::uint64_t first, const SearchParams& search, ResultSink* sink) {
    const Stopwatch watch;
    const SearchFunction<RangeResult> in_radius = [&](MatrixView some, const SearchParams& how) {
      return index.range_search(some, static_cast<float>(*radius_), how);
    };
    const RangeResult found = filtered_search(filters, queries, search, in_radius, filter_use_);
    search_ms_ += watch.milliseconds();
    bench::accumulate(stats_, found.stats);
    hits_ += found.ids.size();
    if (sink) sink->write(shown({first, queries.rows, 0, found.lims, found.distances, found.ids}));
  }

  /// On a terminal, only as many queries as somebody may read.
  ResultRows shown(ResultRows rows) {
    if (!cut_table_) return rows;
    std::size_t nq = 0;
    for (; nq < rows.nq && (shown_rows_ < table_rows); ++nq) shown_rows_ += rows.end(nq) - rows.begin(nq);
    shown_queries_ += nq;
    rows.nq = nq;
    return rows;
  }

  void report(Context& context, const std::string& queries) const {
    if (context.options.json) {
      const Json summary = to_json(queries);
      if (results_on_stdout_) {
        context.console.note(to_line(summary));
      } else {
        print_json(summary);
      }
    } else if (!results_on_stdout_ && (recall_ || verification_)) {
      print_line(fmt::format("recall@{} {:.4f}", k(), recall()));
    }
    if (cut_table_ && shown_queries_ < nq_) {
      context.console.note(
          fmt::format("({} more queries; `| cat` or -o FILE gives all)", grouped(nq_ - shown_queries_)));
    }
    std::string line = fmt::format("{} in {}", counted(nq_, "query", "queries"), human_time(search_ms_));
    if (search_ms_ > 0) line += fmt::format(", {} a second", grouped(static_cast<std::uint64_t>(qps())));
    if (radius_) line += fmt::format(", {} found", counted(hits_, "row"));
    if (results_on_stdout_ && (recall_ || verification_)) line += fmt::format(", recall@{} {:.4f}", k(), recall());
    context.console.note(line);
    report_filter(context.console);
    context.console.detail(
        fmt::format("{} mode, {}, {}, {}; {} rows scanned and {} computed exactly; ms: coarse {:.1f}, group {:.1f}, "
                    "scan {:.1f}, refine {:.1f}, merge {:.1f}",
                    mode_name(stats_.chosen_mode), device_title(place_), stats_.isa, counted(stats_.threads, "thread"),
                    grouped(stats_.rows_scanned), grouped(stats_.rows_refined), stats_.coarse_ms, stats_.group_ms,
                    stats_.scan_ms, stats_.refine_ms, stats_.merge_ms));
    if (stats_.host_syncs > 0) {
      context.console.detail(fmt::format(
          "waited {} for the device; {} scanned again, {} decided on the host", counted(stats_.host_syncs, "time"),
          counted(stats_.queries_widened, "query", "queries"), grouped(stats_.queries_on_host)));
    }
  }

  void report_filter(Console& console) const {
    if (filter_use_.queries() == 0) return;
    const std::string allowed = counted(filter_use_.average(), "row");
    if (!filters_->per_query()) {
      console.note(
          filter_use_.direct > 0
              ? fmt::format("the filter allows {}: they were scanned directly, so that results are exact", allowed)
              : fmt::format("the filter allows {}: lists were scanned", allowed));
      return;
    }
    console.note(
        fmt::format("filters allow {} on average; for {} they were scanned directly (exact), for {} lists were",
                    allowed, counted(filter_use_.direct, "query", "queries"), grouped(filter_use_.scanned)));
  }

  double qps() const { return static_cast<double>(nq_) * 1000 / search_ms_; }
  double recall() const { return recall_ ? recall_->value() : verification_->recall(); }

  Json to_json(const std::string& queries) const {
    Json record{{"index", index_},  {"queries", queries}, {"metric", metric_name(info_.metric)},
                {"dim", info_.dim}, {"nb", info_.rows},   {"nlist", info_.nlist},
                {"nq", nq_}};
    if (radius_) {
      record["radius"] = *radius_;
      record["hits"] = hits_;
    } else {
      record["topk"] = k();
    }
    record["exact"] = exact_;
    record["nprobe"] = exact_ ? info_.nlist : nprobe();
    record["max_codes"] = max_codes_;
    if (filter_.any()) {
      record["filter"] = filter_.spec();
      record["filter_not"] = filter_.forbids();
      record["filter_rows_allowed"] = filter_use_.average();
      record["filter_direct_queries"] = filter_use_.direct;
    }
    record["search_mode"] = mode_name(mode_);
    record["chosen_mode"] = mode_name(stats_.chosen_mode);
    record["auto_avg_group_size"] = stats_.avg_group_size;
    record["auto_threshold"] = stats_.auto_threshold;
    record["device"] = place_.name;
    record["backend"] = place_.backend;
    record["isa"] = stats_.isa;
    record["threads"] = stats_.threads;
    record["search_ms"] = search_ms_;
    if (search_ms_ > 0) record["qps"] = qps();
    record["rows_scanned"] = stats_.rows_scanned;
    record["rows_refined"] = stats_.rows_refined;
    record["queries_widened"] = stats_.queries_widened;
    record["queries_on_host"] = stats_.queries_on_host;
    record["host_syncs"] = stats_.host_syncs;
    if (recall_ || verification_) record["recall_at_k"] = recall();
    if (verification_) record["verified"] = verification_->sound();
    return record;
  }

  int judge(Context& context) const {
    if (verification_ && !verification_->sound()) {
      context.console.error(verification_->complaint());
      return exit_check_failed;
    }
    if (min_recall_ && recall() < *min_recall_) {
      context.console.error(fmt::format("recall@{} is {:.4f}, below --min-recall {}", k(), recall(), *min_recall_));
      return exit_check_failed;
    }
    return exit_done;
  }

  std::string index_, queries_, out_, out_distances_, truth_;
  std::optional<std::uint64_t> k_, nprobe_;
  std::optional<double> radius_, min_recall_;
  std::uint64_t max_codes_ = 0;
  SearchMode mode_ = SearchMode::automatic;
  RowRange range_;
  DeviceOptions device_;
  bool exact_ = false, force_ = false, verify_ = false;

  bool results_on_stdout_ = false, cut_table_ = false;
  std::uint64_t shown_rows_ = 0, shown_queries_ = 0;
  IndexInfo info_;
  DeviceInfo place_;
  SearchStats stats_;
  FilterOptions filter_;
  std::unique_ptr<FilterSource> filters_;
  FilterUse filter_use_;
  std::optional<RecallMeter> recall_;
  std::optional<Verification> verification_;
  std::uint64_t nq_ = 0, hits_ = 0;
  double search_ms_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_search() { return std::make_unique<Search>(); }

}  // namespace ivf::cli
