// ivf compare: whether new records are slower than those of a base.

#include <algorithm>

#include "bench/comparison.h"
#include "command.h"
#include "message.h"
#include "stdout.h"
#include "summary.h"
#include "table.h"

namespace ivf::cli {
namespace {

using bench::RecordPair;
using bench::TimeChange;
using bench::Verdict;

/// "5%" or "0.05".
double parse_share(std::string_view option, std::string_view text) {
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  return parse_number(option, text, 0, percent ? 100'000 : 1000) / (percent ? 100 : 1);
}

std::string percent(double share) { return fmt::format("{:.3g} %", 100 * share); }

class Compare final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "Pair the records of two files by their parameters and compare their times. The interval of a ratio (95 %) "
        "comes "
        "from the repeated runs of each record; several records with equal parameters count as one with all their "
        "runs. A "
        "time is called slower only when the whole interval, the quickest runs, and what the machine's own speed "
        "leaves "
        "of both are beyond the limit. Exit code 4 then, 0 otherwise.",
        R"(Examples:
  ivf bench --out base.jsonl; ivf bench --out new.jsonl
  ivf compare base.jsonl new.jsonl
  ivf compare base.jsonl new.jsonl --max-regress 3% --require-identical-results
  ivf compare base.jsonl new.jsonl --markdown >> "$GITHUB_STEP_SUMMARY"
)");
    options.argument("BASE", base_, "Records to compare with, as JSON lines; - is a pipe");
    options.argument("NEW", new_, "Records to judge");
    options.group("Check options");
    options
        .value(
            "--max-regress", "SHARE", "How much slower a time may become, as in 5% or 0.05",
            [this](std::string_view option, std::string_view text) { limits_.max_regress = parse_share(option, text); })
        .shows("5%");
    options
        .value("--max-recall-drop", "R", "How much recall@k may drop",
               [this](std::string_view option, std::string_view text) {
                 limits_.max_recall_drop = parse_number(option, text, 0, 1);
               })
        .shows("0.001");
    options.flag("--require-identical-results", limits_.identical_results,
                 "Results must be the same, bit for bit (result_hash)");
    options.group("Output options");
    options.flag("--markdown", markdown_, "Print the table as Markdown");
  }

  int run(Context& context) override {
    if (base_ == "-" && new_ == "-") misuse("BASE and NEW cannot both come from one pipe");
    if (markdown_ && context.options.json) misuse("--markdown and --json contradict each other");
    const auto base = bench::read_records(base_), fresh = bench::read_records(new_);
    const bench::Comparison comparison = bench::compare_records(base, fresh, limits_);
    warn_of_the_rest(context, comparison);
    if (context.options.json) {
      print_json(to_json(comparison));
    } else {
      const Table table = to_table(comparison);
      Stdout out;
      out.write(markdown_ ? table.markdown() : table.text());
      out.write(fmt::format("\n{}\n", conclusion(comparison)));
      for (const std::string& note : notes(comparison)) out.write(fmt::format("{} {}\n", markdown_ ? "-" : " ", note));
      out.flush();
    }
    return regressions(comparison) > 0 ? exit_check_failed : exit_done;
  }

 private:
  static void warn_of_the_rest(Context& context, const bench::Comparison& comparison) {
    const auto warn = [&](const std::vector<std::string>& places, const char* other) {
      if (places.empty()) return;
      context.console.warn(fmt::format("{} without a partner in {}, the first at {}", counted(places.size(), "record"),
                                       other, places.front()));
    };
    warn(comparison.only_in_base, "NEW");
    warn(comparison.only_in_new, "BASE");
  }

  std::size_t regressions(const bench::Comparison& comparison) const {
    return static_cast<std::size_t>(std::count_if(comparison.pairs.begin(), comparison.pairs.end(),
                                                  [&](const RecordPair& pair) { return pair.regression(limits_); }));
  }

  static std::size_t count(const bench::Comparison& comparison, Verdict verdict) {
    std::size_t found = 0;
    for (const RecordPair& pair : comparison.pairs) {
      for (const TimeChange& time : pair.times) found += time.verdict == verdict ? 1 : 0;
    }
    return found;
  }

  /// Parameters that differ between pairs, and always who searched how many queries.
  static std::vector<std::string> shown_parameters(const bench::Comparison& comparison) {
    std::vector<std::string> keys;
    for (const std::string& key : bench::parameter_keys()) {
      const auto differs = [&](const RecordPair& pair) {
        return pair.parameters.at(key) != comparison.pairs.front().parameters.at(key);
      };
      const bool known = !comparison.pairs.front().parameters.at(key).is_null();
      const bool always = known && (key == "library" || key == "search_mode" || key == "nq");
      if (always || std::any_of(comparison.pairs.begin(), comparison.pairs.end(), differs)) keys.push_back(key);
    }
    return keys;
  }

  static std::string value_text(const Json& value) {
    return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
  }

  static std::string interval_text(const TimeChange& time) {
    if (std::min(time.base_runs, time.new_runs) < 3) return fmt::format("{:.3f}x", time.ratio.value);
    return fmt::format("{:.3f}x ({:.3f}-{:.3f})", time.ratio.value, time.ratio.low, time.ratio.high);
  }

  static std::string recall_text(const RecordPair& pair) {
    if (!pair.base_recall || !pair.new_recall) return "";
    if (*pair.base_recall == *pair.new_recall) return fmt::format("{:.4f}", *pair.new_recall);
    return fmt::format("{:.4f} -> {:.4f}{}", *pair.base_recall, *pair.new_recall, pair.recall_dropped ? " (drop)" : "");
  }

  static std::string identical_text(const RecordPair& pair) {
    return pair.identical ? *pair.identical ? "same" : "differ" : "";
  }

  static Table to_table(const bench::Comparison& comparison) {
    const auto keys = shown_parameters(comparison);
    const bool recall = std::any_of(comparison.pairs.begin(), comparison.pairs.end(),
                                    [](const RecordPair& pair) { return pair.base_recall && pair.new_recall; });
    Table table;
    for (const std::string& key : keys) {
      const bool is_text = comparison.pairs.front().parameters.at(key).is_string();
      table.column(key, is_text ? Table::Align::left : Table::Align::right);
    }
    table.column("time", Table::Align::left);
    for (const char* heading : {"base", "new", "new/base (95 %)"}) table.column(heading);
    table.column("verdict", Table::Align::left);
    if (recall) table.column("recall@k", Table::Align::left);
    table.column("results", Table::Align::left);
    for (const RecordPair& pair : comparison.pairs) {
      for (const TimeChange& time : pair.times) {
        std::vector<std::string> row;
        for (const std::string& key : keys) row.push_back(value_text(pair.parameters.at(key)));
        row.push_back(time.key.substr(0, time.key.find('_')));
        row.push_back(human_time(time.base_ms));
        row.push_back(human_time(time.new_ms));
        row.push_back(interval_text(time));
        row.push_back(bench::verdict_name(time.verdict));
        if (recall) row.push_back(recall_text(pair));
        row.push_back(identical_text(pair));
        table.row(std::move(row));
      }
    }
    return table;
  }

  /// One line: what came out.
  std::string conclusion(const bench::Comparison& comparison) const {
    const std::size_t slower = count(comparison, Verdict::slower), faster = count(comparison, Verdict::faster);
    std::vector<std::string> parts;
    if (slower > 0) parts.push_back(fmt::format("{} slower by more than {}", slower, percent(limits_.max_regress)));
    if (faster > 0) parts.push_back(fmt::format("{} faster", faster));
    const auto pairs_with = [&](const auto& test) {
      return std::count_if(comparison.pairs.begin(), comparison.pairs.end(), test);
    };
    if (const auto dropped = pairs_with([](const RecordPair& pair) { return pair.recall_dropped; })) {
      parts.push_back(fmt::format("recall dropped in {}", dropped));
    }
    if (limits_.identical_results) {
      const auto different = pairs_with([](const RecordPair& pair) { return !pair.identical.value_or(false); });
      if (different) parts.push_back(fmt::format("results differ in {}", different));
    }
    const std::size_t unclear = count(comparison, Verdict::unclear);
    if (parts.empty()) parts.emplace_back(unclear > 0 ? "no change found" : "no change");
    if (unclear > 0) parts.push_back(fmt::format("{} unclear", unclear));
    return fmt::format("{}: {}", counted(comparison.pairs.size(), "pair"), fmt::join(parts, ", "));
  }

  /// What a reader of the table must know to judge it.
  std::vector<std::string> notes(const bench::Comparison& comparison) const {
    std::vector<std::string> lines;
    if (const std::size_t unclear = count(comparison, Verdict::unclear)) {
      lines.push_back(
          fmt::format("noise is larger than the limit of {} for {}: a change of that size could not be seen; "
                      "more --repeat, or a quiet machine, would tell",
                      percent(limits_.max_regress), counted(unclear, "time")));
    }
    double slowest = 1, quickest = 1;
    for (const RecordPair& pair : comparison.pairs) {
      slowest = std::max(slowest, pair.machine.value_or(1));
      quickest = std::min(quickest, pair.machine.value_or(1));
    }
    if (slowest > 1 + limits_.max_regress) {
      lines.push_back(fmt::format("the machine itself was up to {} slower for NEW", percent(slowest - 1)));
    }
    if (1 / quickest > 1 + limits_.max_regress) {
      lines.push_back(fmt::format("the machine itself was up to {} slower for BASE", percent(1 / quickest - 1)));
    }
    for (const RecordPair& pair : comparison.pairs) {
      for (const std::string& note : pair.notes) {
        if (std::find(lines.begin(), lines.end(), note) == lines.end()) lines.push_back(note);
      }
    }
    return lines;
  }

  static Json or_null(std::optional<double> value) { return value ? Json(*value) : Json(); }

  Json to_json(const bench::Comparison& comparison) const {
    Json pairs = Json::array();
    for (const RecordPair& pair : comparison.pairs) {
      Json times = Json::array();
      for (const TimeChange& time : pair.times) {
        times.push_back({{"time", time.key},
                         {"base_ms", time.base_ms},
                         {"new_ms", time.new_ms},
                         {"base_runs", time.base_runs},
                         {"new_runs", time.new_runs},
                         {"ratio", time.ratio.value},
                         {"ratio_low", time.ratio.low},
                         {"ratio_high", time.ratio.high},
                         {"confidence", time.ratio.confidence},
                         {"verdict", bench::verdict_name(time.verdict)}});
      }
      pairs.push_back({{"parameters", Json(pair.parameters)},
                       {"times", times},
                       {"machine_ratio", or_null(pair.machine)},
                       {"base_recall_at_k", or_null(pair.base_recall)},
                       {"new_recall_at_k", or_null(pair.new_recall)},
                       {"recall_dropped", pair.recall_dropped},
                       {"identical_results", pair.identical ? Json(*pair.identical) : Json()},
                       {"regression", pair.regression(limits_)},
                       {"notes", pair.notes}});
    }
    return {{"base", base_},
            {"new", new_},
            {"max_regress", limits_.max_regress},
            {"max_recall_drop", limits_.max_recall_drop},
            {"pairs", pairs},
            {"only_in_base", comparison.only_in_base},
            {"only_in_new", comparison.only_in_new},
            {"regressions", regressions(comparison)},
            {"unclear", count(comparison, Verdict::unclear)},
            {"conclusion", conclusion(comparison)}};
  }

  std::string base_, new_;
  bench::ComparisonLimits limits_;
  bool markdown_ = false;
};

}  // namespace

std::unique_ptr<Command> make_compare() { return std::make_unique<Compare>(); }

}  // namespace ivf::cli
