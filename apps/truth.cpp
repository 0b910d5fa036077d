// ivf truth: exact neighbours of queries, the base read once in blocks.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "command.h"
#include "destination.h"
#include "device_options.h"
#include "ivf/index.hpp"
#include "message.h"
#include "results_hdf5.h"
#include "rows.h"
#include "signals.h"
#include "summary.h"

namespace ivf::cli {
namespace {

/// The best k of everything seen so far, per query. Merging is a choice between canonical values in the total order, so
/// that the blocks do not show in the result.
class TopK {
 public:
  TopK(std::size_t nq, std::size_t k, Metric metric)
      : nq_(nq),
        k_(k),
        larger_is_nearer_(metric != Metric::l2),
        distances_(nq * k, larger_is_nearer_ ? -INFINITY : INFINITY),
        ids_(nq * k, -1),
        row_distances_(k),
        row_ids_(k) {}

  void merge(std::size_t first_query, const SearchResult& block) {
    for (std::size_t q = 0; q < block.nq; ++q) merge_row((first_query + q) * k_, block, q * block.k);
  }
  ResultRows rows() const { return {0, nq_, k_, {}, distances_, ids_}; }

 private:
  bool before(float value_a, idx_t id_a, float value_b, idx_t id_b) const {
    if (id_a == -1 || id_b == -1) return id_b == -1;
    if (value_a != value_b) return larger_is_nearer_ ? value_a > value_b : value_a < value_b;
    return id_a < id_b;
  }

  void merge_row(std::size_t at, const SearchResult& block, std::size_t from) {
    for (std::size_t i = 0, a = at, b = from; i < k_; ++i) {
      const bool old = before(distances_[a], ids_[a], block.distances[b], block.ids[b]);
      row_distances_[i] = old ? distances_[a] : block.distances[b];
      row_ids_[i] = old ? ids_[a++] : block.ids[b++];
    }
    std::copy(row_distances_.begin(), row_distances_.end(), distances_.begin() + static_cast<std::ptrdiff_t>(at));
    std::copy(row_ids_.begin(), row_ids_.end(), ids_.begin() + static_cast<std::ptrdiff_t>(at));
  }

  std::size_t nq_, k_;
  bool larger_is_nearer_;
  std::vector<float> distances_;
  std::vector<idx_t> ids_;
  std::vector<float> row_distances_;
  std::vector<idx_t> row_ids_;
};

class Truth final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Compute the exact k nearest rows of each query. The base is read once, in blocks that fit the memory; "
        "queries and results are kept. The result does not depend on the blocks.",
        R"(Examples:
  ivf truth --base base.fvecs --queries queries.fvecs -k 100 -o truth.ivecs
  ivf truth --base sift.hdf5 --queries sift.hdf5 -k 10 -o gt:truth.bin
  ivf truth --base a.npy --queries q.npy --metric cosine -o a.hdf5 --with-vectors

An HDF5 file follows ann-benchmarks: its distances are Euclidean, or 1 - cosine.
All other formats hold the values that `ivf search` prints (l2: squared).
)");
    options.group("Input options");
    options.text("--base", base_, "DATA", "Rows to search").required();
    options.text("--queries", queries_, "DATA", "Queries (`test` of an HDF5 file)").required();
    options.row_range(range_);
    options.metric(metric_);
    options.count("-k", k_, "N", "Neighbours of each query", 1, 16'384).shows("100");
    options.count("--block", block_, "N", "Rows of the base to hold at a time", 1, 1u << 30)
        .shows("what fits --max-memory");
    options.group("Output options");
    options
        .text("-o,--out", out_, "FILE",
              "Where neighbours go. Ids and distances: .h5 gt:FILE .jsonl .tsv; ids: .ivecs .ibin .npy")
        .required();
    options.text("--out-distances", out_distances_, "FILE",
                 "Where distances go, when ids go elsewhere: .fvecs .fbin .npy");
    options.flag("--with-vectors", with_vectors_,
                 "Copy base and queries into the HDF5 file, as `train` and `test`: a whole ann-benchmarks data set");
    options.force(force_);
    device_.define(options);
  }

  int run(Context& context) override {
    if (parse_destination(base_).pipe() && parse_destination(queries_).pipe())
      misuse("base and queries cannot both come from one pipe");
    const Metric metric = metric_ ? *metric_ : datasets::stored_metric(base_).value_or(Metric::l2);
    RowSource base(base_, datasets::Role::base, range_, RowSource::Use::store);
    RowSource queries(queries_, datasets::Role::queries, {}, RowSource::Use::query);
    queries.require_dim(base.dim(), base.name());
    place_ = place_of(base.dim(), metric);
    open_outputs(metric, base);

    const Stopwatch watch;
    std::vector<float> query_values;
    const std::size_t nq = read_queries(queries, query_values);
    TopK best(nq, static_cast<std::size_t>(k_), metric);
    const MatrixView query_view(query_values.data(), nq, base.dim());
    if (vectors_) vectors_->vectors("test", queries.dim(), stored_type(queries)).write(query_values.data(), nq);
    scan(context, base, query_view, metric, best);
    sink_->write(best.rows());
    throw_if_interrupted();
    sink_->finish();
    forget_signals();
    report(context, metric, base, nq, watch.milliseconds());
    return exit_done;
  }

 private:
  /// Where the blocks will be searched; a device that is missing is said before anything is read.
  DeviceInfo place_of(std::size_t dim, Metric metric) const {
    IndexFlat empty(dim, metric);
    empty.to(device_.placement());
    return empty.device();
  }

  void open_outputs(Metric metric, const RowSource& base) {
    const Destination out = parse_destination(out_, TextFormat::tsv);
    check_destination(out, force_);
    std::optional<Destination> distances;
    if (!out_distances_.empty()) {
      distances = parse_destination(out_distances_);
      check_destination(*distances, force_);
    }
    const ResultShape shape{metric, static_cast<std::size_t>(k_), true};
    if (with_vectors_) {
      if (!datasets::is_hdf5(out_) || distances) misuse("--with-vectors needs one HDF5 file, as in -o data.hdf5");
      auto file = std::make_unique<Hdf5Results>(out.path, shape);
      train_ = &file->vectors("train", base.dim(), stored_type(base));
      vectors_ = file.get();
      sink_ = std::move(file);
    } else {
      sink_ = open_results(out, distances, shape);
    }
  }

  /// float64 has been rounded when it was read.
  static datasets::Element stored_type(const RowSource& source) {
    return source.element() == datasets::Element::f64 ? datasets::Element::f32 : source.element();
  }

  static std::size_t read_queries(RowSource& queries, std::vector<float>& values) {
    std::vector<float> batch;
    const std::size_t step = rows_that_fit(std::uint64_t{4} << 20, queries.dim() * sizeof(float), 65536);
    while (queries.next(batch, step)) {
      values.insert(values.end(), batch.begin(),
                    batch.begin() + static_cast<std::ptrdiff_t>(queries.batch_rows() * queries.dim()));
    }
    return static_cast<std::size_t>(queries.rows_read());
  }

  std::size_t block_rows(const Context& context, const RowSource& base) const {
    // A row is held as it was read, in the planes that are searched, and with its id and norm.
    const std::uint64_t row_bytes = base.dim() * 2 * sizeof(float) + sizeof(idx_t) + sizeof(float);
    const std::uint64_t most = base.known_rows().value_or(std::numeric_limits<std::uint64_t>::max());
    return rows_that_fit(context.options.memory() / 2, row_bytes,
                         std::max<std::uint64_t>(1, std::min(block_.value_or(most), most)));
  }

  void scan(Context& context, RowSource& base, MatrixView queries, Metric metric, TopK& best) {
    const std::size_t rows = block_rows(context, base);
    const RunOptions options = context.options.run(Console::interrupt_only());
    std::vector<float> batch;
    std::vector<idx_t> ids;
    while (base.next(batch, rows)) {
      const std::uint64_t first = base.rows_read() - base.batch_rows();
      if (train_) train_->write(batch.data(), base.batch_rows());
      IndexFlat block(base.dim(), metric);
      block.to(device_.placement());
      ids.resize(base.batch_rows());
      std::iota(ids.begin(), ids.end(), static_cast<idx_t>(first));
      block.add_with_ids(base.view(batch), ids, options);
      search_block(context, block, queries, best, first, base);
    }
    context.console.clear();
  }

  void search_block(Context& context, const IndexFlat& block, MatrixView queries, TopK& best, std::uint64_t first,
                    const RowSource& base) const {
    SearchParams params;
    static_cast<RunOptions&>(params) = context.options.run(Console::interrupt_only());
    params.k = static_cast<std::size_t>(k_);
    // In pieces, so that progress is shown and the results of a piece stay small beside those that are kept.
    constexpr std::size_t piece = 4096;
    for (std::size_t q = 0; q < queries.rows; q += piece) {
      const std::size_t count = std::min(piece, queries.rows - q);
      best.merge(q, block.search(queries.slice(q, count), params));
      const std::uint64_t done = first * queries.rows + block.size() * (q + count);
      context.console.progress("comparing", done, base.expected() * queries.rows);
    }
  }

  void report(Context& context, Metric metric, const RowSource& base, std::size_t nq, double milliseconds) const {
    if (context.options.json && !parse_destination(out_).pipe()) {
      print_json({{"base", base_},
                  {"queries", queries_},
                  {"out", out_},
                  {"metric", metric_name(metric)},
                  {"dim", base.dim()},
                  {"nb", base.rows_read()},
                  {"nq", nq},
                  {"topk", k_},
                  {"device", place_.name},
                  {"backend", place_.backend},
                  {"truth_ms", milliseconds}});
    }
    const std::string where = parse_destination(out_).pipe() ? "standard output" : out_;
    context.console.note(fmt::format("{}: the {} nearest of {} for {}, {}, in {}", where, k_,
                                     counted(base.rows_read(), "row"), counted(nq, "query", "queries"),
                                     metric_name(metric), human_time(milliseconds)));
  }

  std::string base_, queries_, out_, out_distances_;
  std::optional<Metric> metric_;
  std::optional<std::uint64_t> block_;
  std::uint64_t k_ = 100;
  RowRange range_;
  DeviceOptions device_;
  bool with_vectors_ = false, force_ = false;

  DeviceInfo place_;
  std::unique_ptr<ResultSink> sink_;
  Hdf5Results* vectors_ = nullptr;
  datasets::Writer* train_ = nullptr;
};

}  // namespace

std::unique_ptr<Command> make_truth() { return std::make_unique<Truth>(); }

}  // namespace ivf::cli
