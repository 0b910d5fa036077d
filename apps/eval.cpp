// ivf eval: recall of a result file.

#include <algorithm>

#include "command.h"
#include "destination.h"
#include "message.h"
#include "quality.h"
#include "result_files.h"
#include "stdout.h"
#include "summary.h"

namespace ivf::cli {
namespace {

constexpr std::size_t batch_rows = 4096;

/// How often the nearest row of all is among the first k results.
class NearestMeter {
 public:
  explicit NearestMeter(std::size_t k) : k_(k) {}
  void add(std::span<const idx_t> ids, std::size_t ids_k, std::span<const idx_t> truth, std::size_t truth_k,
           std::size_t nq) {
    for (std::size_t q = 0; q < nq; ++q) {
      const auto row = ids.subspan(q * ids_k, k_);
      const idx_t nearest = truth[q * truth_k];
      found_ += nearest != -1 && std::find(row.begin(), row.end(), nearest) != row.end();
    }
    nq_ += nq;
  }
  double value() const noexcept { return nq_ == 0 ? 1 : static_cast<double>(found_) / static_cast<double>(nq_); }

 private:
  std::size_t k_;
  std::uint64_t found_ = 0, nq_ = 0;
};

class Eval final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Measure the recall of a result file: recall@k, the share of the k true neighbours that are among the first "
        "k results, and 1-recall@k, how often the nearest of all is among them.",
        R"(Examples:
  ivf eval ids.ivecs --truth sift.hdf5
  ivf eval ids.jsonl --truth truth.ivecs -k 10 --min-recall 0.98
  ivf search base.ivf q.npy -k 10 | ivf eval - --truth truth.npy -k 10 --json
)");
    options.argument("RESULT", result_, "Ids that `ivf search` wrote (.ivecs .ibin .npy .h5 .jsonl .tsv; - is .tsv)");
    options.group("Evaluation options");
    options.text("--truth", truth_, "FILE", "True neighbours (`neighbors` of an HDF5 file)").required();
    options.count("-k", k_, "N", "Neighbours to compare", 1).shows("1, 10 and 100, as far as both files reach");
    options.min_recall(min_recall_);
  }

  int run(Context& context) override {
    if (parse_destination(result_).pipe() && parse_destination(truth_).pipe())
      misuse("results and truth cannot both come from one pipe");
    if (min_recall_ && !k_) misuse("--min-recall needs -k to say at which k");
    const auto result = ResultFile::open(result_, context.options.memory());
    TruthSource truth(truth_, 1);
    const std::size_t both = std::min(result->width(), truth.width());
    if (k_ && *k_ > both) {
      misuse("recall@{} needs {} results and true neighbours a query, {} holds {} and {} {}", *k_, *k_, result->name(),
             result->width(), truth.name(), truth.width());
    }
    if (result->rows() && truth.rows() && *result->rows() != *truth.rows()) {
      context.console.warn(fmt::format("{} holds {}, {} holds {}: the first {} are compared", result->name(),
                                       counted(*result->rows(), "query", "queries"), truth.name(),
                                       grouped(*truth.rows()), grouped(std::min(*result->rows(), *truth.rows()))));
    }
    const std::uint64_t nq = measure(context, *result, truth, both);
    print(context, nq);
    if (!min_recall_ || recall_.front().value() >= *min_recall_) return exit_done;
    context.console.error(
        fmt::format("recall@{} is {:.4f}, below --min-recall {}", *k_, recall_.front().value(), *min_recall_));
    return exit_check_failed;
  }

 private:
  std::uint64_t measure(Context& context, ResultFile& result, TruthSource& truth, std::size_t both) {
    std::vector<std::size_t> ks;
    if (k_) {
      ks.push_back(static_cast<std::size_t>(*k_));
    } else {
      for (const std::size_t k : {1, 10, 100}) {
        if (k <= both) ks.push_back(k);
      }
    }
    for (const std::size_t k : ks) {
      recall_.emplace_back(k);
      nearest_.emplace_back(k);
    }
    std::vector<idx_t> ids;
    std::uint64_t nq = 0;
    const std::uint64_t most = truth.rows().value_or(std::numeric_limits<std::uint64_t>::max());
    while (nq < most) {
      const std::size_t count =
          result.next(ids, static_cast<std::size_t>(std::min<std::uint64_t>(batch_rows, most - nq)));
      if (count == 0) break;
      const auto expected = truth.next(count);
      for (std::size_t i = 0; i < ks.size(); ++i) {
        recall_[i].add(ids, result.width(), expected, truth.width(), count);
        nearest_[i].add(ids, result.width(), expected, truth.width(), count);
      }
      nq += count;
      context.console.progress("comparing", nq, result.rows().value_or(0));
    }
    return nq;
  }

  void print(const Context& context, std::uint64_t nq) const {
    if (context.options.json) {
      Json recall = Json::object(), nearest = Json::object();
      for (std::size_t i = 0; i < recall_.size(); ++i) {
        recall[std::to_string(recall_[i].k())] = recall_[i].value();
        nearest[std::to_string(recall_[i].k())] = nearest_[i].value();
      }
      print_json(
          {{"result", result_}, {"truth", truth_}, {"nq", nq}, {"recall_at_k", recall}, {"nearest_in_k", nearest}});
      return;
    }
    Stdout out;
    out.write(fmt::format("{:<14} {}\n", "queries", nq));
    for (const RecallMeter& meter : recall_)
      out.write(fmt::format("{:<14} {:.4f}\n", fmt::format("recall@{}", meter.k()), meter.value()));
    for (std::size_t i = 0; i < recall_.size(); ++i) {
      if (recall_[i].k() == 1) continue;
      out.write(fmt::format("{:<14} {:.4f}\n", fmt::format("1-recall@{}", recall_[i].k()), nearest_[i].value()));
    }
    out.flush();
  }

  std::string result_, truth_;
  std::optional<std::uint64_t> k_;
  std::optional<double> min_recall_;
  std::vector<RecallMeter> recall_;
  std::vector<NearestMeter> nearest_;
};

}  // namespace

std::unique_ptr<Command> make_eval() { return std::make_unique<Eval>(); }

}  // namespace ivf::cli
