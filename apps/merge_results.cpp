// ivf merge-results: what several shards found, as what the whole finds.

#include <algorithm>
#include <deque>
#include <limits>

#include "command.h"
#include "hit_files.h"
#include "message.h"
#include "results.h"
#include "signals.h"
#include "stdout.h"
#include "summary.h"

namespace ivf::cli {
namespace {

constexpr std::size_t values_at_once = 65'536;

class MergeResults final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Merge what several shards of an index found for the same queries: the k best of each query, by distance and "
        "then id. It is what the whole index finds, to the last bit, when each shard was asked for at least k with the "
        "same --nprobe. Files are read as streams.",
        R"(Examples:
  ivf merge-results shard-0.tsv shard-1.tsv -k 10 > all.tsv
  ivf merge-results shard-*.jsonl -k 100 -o ids.ivecs --out-distances d.fvecs
  ivf merge-results tsv:<(ivf search s-0.ivf q.npy) tsv:<(ivf search s-1.ivf q.npy)
)");
    options.arguments("RESULT", results_,
                      "Results of `ivf search` with distances: .tsv .jsonl, or tsv:FILE jsonl:FILE");
    options.group("Merge options");
    options.count("-k", k_, "N", "Neighbours of each query", 1, most_k).shows("10");
    options
        .choice<Metric>("--metric", metric_, "NAME",
                        "How distances are ordered: l2 (ascending), ip or cosine (descending)",
                        {{"l2", Metric::l2}, {"ip", Metric::ip}, {"cosine", Metric::cosine}})
        .shows("l2");
    options.group("Output options");
    options.results(out_, out_distances_);
    options.force(force_);
  }

  int run(Context& context) override {
    if (out_.empty() && out_distances_.empty()) out_.push_back('-');
    const auto out = destination(out_), distances = destination(out_distances_);
    const bool on_stdout = (out && out->pipe()) || (distances && distances->pipe());
    const Stopwatch watch;
    std::deque<HitFile> files;
    const std::uint64_t memory = context.options.memory() / (8 * results_.size());
    for (const std::string& result : results_) files.emplace_back(result, memory);
    const auto sink = open_results(out, distances, {metric_, static_cast<std::size_t>(k_), false});
    merge(context, files, *sink);
    throw_if_interrupted();
    sink->finish();
    forget_signals();
    context.console.clear();
    const double milliseconds = watch.milliseconds();
    if (context.options.json && !on_stdout) {
      print_json({{"results", results_},
                  {"out", out_},
                  {"metric", metric_name(metric_)},
                  {"nq", nq_},
                  {"topk", k_},
                  {"merge_ms", milliseconds}});
    }
    context.console.note(fmt::format("{} of {} in {}", counted(nq_, "query", "queries"),
                                     counted(results_.size(), "result file"), human_time(milliseconds)));
    return exit_done;
  }

 private:
  std::optional<Destination> destination(const std::string& spec) const {
    if (spec.empty()) return std::nullopt;
    const auto result = parse_destination(spec, stdout_is_terminal() ? TextFormat::table : TextFormat::tsv);
    check_destination(result, force_);
    return result;
  }

  void merge(Context& context, std::deque<HitFile>& files, ResultSink& sink) {
    for (;;) {
      std::uint64_t query = std::numeric_limits<std::uint64_t>::max();
      for (const HitFile& file : files) {
        if (file.current() != nullptr) query = std::min(query, file.current()->query);
      }
      if (query == std::numeric_limits<std::uint64_t>::max()) break;
      while (nq_ < query) add(sink, {});
      std::vector<std::pair<float, idx_t>> hits;
      for (HitFile& file : files) {
        if (file.current() == nullptr || file.current()->query != query) continue;
        hits.insert(hits.end(), file.current()->hits.begin(), file.current()->hits.end());
        file.next();
      }
      add(sink, std::move(hits));
      context.console.progress("merging", nq_, 0);
    }
    flush(sink);
  }

  void add(ResultSink& sink, std::vector<std::pair<float, idx_t>> hits) {
    const bool descends = metric_ != Metric::l2;
    std::sort(hits.begin(), hits.end(), [&](const auto& a, const auto& b) {
      if (a.first != b.first) return descends ? a.first > b.first : a.first < b.first;
      return a.second < b.second;
    });
    constexpr float infinity = std::numeric_limits<float>::infinity();
    hits.resize(static_cast<std::size_t>(k_), {descends ? -infinity : infinity, -1});
    for (const auto& [distance, id] : hits) {
      distances_.push_back(distance);
      ids_.push_back(id);
    }
    ++nq_;
    if (ids_.size() >= values_at_once) flush(sink);
  }

  void flush(ResultSink& sink) {
    ResultRows rows;
    rows.k = static_cast<std::size_t>(k_);
    rows.nq = ids_.size() / rows.k;
    rows.first_query = nq_ - rows.nq;
    rows.distances = distances_;
    rows.ids = ids_;
    sink.write(rows);
    distances_.clear();
    ids_.clear();
  }

  std::vector<std::string> results_;
  std::string out_, out_distances_;
  std::uint64_t k_ = default_k, nq_ = 0;
  Metric metric_ = Metric::l2;
  bool force_ = false;
  std::vector<float> distances_;
  std::vector<idx_t> ids_;
};

}  // namespace

std::unique_ptr<Command> make_merge_results() { return std::make_unique<MergeResults>(); }

}  // namespace ivf::cli
