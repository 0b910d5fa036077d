#include "bench_report.h"

#include <algorithm>

#include "bench/append.h"
#include "message.h"
#include "signals.h"
#include "stdout.h"
#include "summary.h"
#include "table.h"

namespace ivf::cli {
namespace {

using bench::Json;

std::string number(const Json& value) { return value.is_null() ? "" : grouped(value.get<std::uint64_t>()); }
std::string milliseconds(const Json& value) { return value.is_null() ? "" : human_time(value.get<double>()); }
std::string share(const Json& value) { return value.is_null() ? "" : fmt::format("{:.4f}", value.get<double>()); }
std::string text(const Json& value) { return value.is_null() ? "" : value.get<std::string>(); }

std::string rate(const Json& value) {
  const double qps = value.get<double>();
  return qps < 100 ? fmt::format("{:.1f}", qps) : grouped(static_cast<std::uint64_t>(qps + 0.5));
}

std::string spread(const Json& value) { return fmt::format("{:.1f} %", 100 * value.get<double>()); }

std::string speedup(const Json& record) {
  if (record["speedup"].is_null()) return "";
  return fmt::format("{:.2f}x ({:.2f}-{:.2f})", record["speedup"].get<double>(), record["speedup_low"].get<double>(),
                     record["speedup_high"].get<double>());
}

bool any(const std::vector<Json>& records, const char* key) {
  return std::any_of(records.begin(), records.end(), [&](const Json& record) { return !record[key].is_null(); });
}

bool varies(const std::vector<Json>& records, const char* key) {
  return std::any_of(records.begin(), records.end(),
                     [&](const Json& record) { return record[key] != records[0][key]; });
}

std::string mode(const Json& record) {
  const std::string asked = text(record["search_mode"]), chosen = text(record["chosen_mode"]);
  return asked == chosen ? asked : fmt::format("{} ({})", asked, chosen);
}

/// Where a record of ivf was taken, when that is not the CPU with ivf's own kernels.
std::string place(const Json& record) {
  if (record["device"] != "cpu") return fmt::format(" on {} ({})", text(record["device"]), text(record["device_name"]));
  return record["kernels"] == "torch" ? " with LibTorch" : "";
}

/// What all records have in common, in words.
std::string heading(const std::vector<Json>& records) {
  const Json& first = records.front();
  std::string line = fmt::format("{} rows of {} dimensions, {}, {} lists", number(first["nb"]), number(first["dim"]),
                                 text(first["metric"]), number(first["nlist"]));
  if (!varies(records, "nprobe")) line += fmt::format(", nprobe {}", number(first["nprobe"]));
  line += fmt::format(", k {}", number(first["topk"]));
  if (!varies(records, "max_codes") && first["max_codes"] != 0) {
    line += fmt::format(", max_codes {}", number(first["max_codes"]));
  }
  if (first["resident"] == true) line += ", queries and results on the device";
  line += fmt::format(", {}", counted(first["threads"].get<std::uint64_t>(), "thread"));
  for (const Json& record : records) {
    if (!record["isa"].is_null()) return line + fmt::format(", {}{}", text(record["isa"]), place(record));
  }
  return line;
}

std::string percent(const Json& share) {
  return share.is_null() ? "?" : fmt::format("{:.1f} %", 100 * share.get<double>());
}

std::string giga(const Json& amount, const char* unit) {
  return amount.is_null() ? "?" : fmt::format("{:.1f} {}", amount.get<double>() * 1e-9, unit);
}

/// Where the time of a record went.
std::string profile_text(const Json& record) {
  const Json& profile = record["profile"];
  Table phases;
  phases.column("phase", Table::Align::left);
  phases.column("a batch");
  phases.column("share");
  for (const auto& [name, value] : profile["phase_ms"].items()) {
    phases.row({name, milliseconds(value), percent(profile["phase_share"][name])});
  }
  if (!profile["device_phase_ms"].is_null()) {
    for (const auto& [name, value] : profile["device_phase_ms"].items())
      phases.row({"  " + name, milliseconds(value), ""});
  }
  const auto per_query = [&](const char* key) { return fmt::format("{:.1f}", profile[key].get<double>()); };
  Table work;
  work.column("work", Table::Align::left);
  work.column("");
  work.row({"lists a query", per_query("lists_per_query")});
  work.row({"lists pruned a query", per_query("lists_pruned_per_query")});
  work.row({"rows filtered a query", per_query("rows_per_query")});
  if (!profile["device_phase_ms"].is_null()) work.row({"rows that passed a query", per_query("passed_per_query")});
  work.row({"rows re-computed a query", per_query("survivors_per_query")});
  work.row({"scan reads", giga(profile["scan_bytes_per_second"], "GB/s")});
  work.row({"  of memory's peak, " + giga(profile["peak_bytes_per_second"], "GB/s"),
            percent(profile["scan_share_of_peak_bandwidth"])});
  work.row({"scan computes", giga(profile["scan_flops_per_second"], "GFLOP/s")});
  work.row({"  of the level's peak, " + giga(profile["peak_flops_per_second"], "GFLOP/s"),
            percent(profile["scan_share_of_peak_flops"])});
  return fmt::format("\nprofile of {} {}, nq {}, the median run\n\n{}\n{}", text(record["library"]), mode(record),
                     number(record["nq"]), phases.text(), work.text());
}

/// Says so when timings of some records cannot be relied on.
void warn_of_noise(Console& console, const std::vector<Json>& records) {
  constexpr double much = 0.1;
  double worst = 0;
  std::size_t noisy = 0;
  for (const Json& record : records) {
    const double spread_of_runs = record["search_ms_spread"].get<double>();
    if (spread_of_runs > much) ++noisy;
    worst = std::max(worst, spread_of_runs);
  }
  if (noisy == 0) return;
  console.warn(
      fmt::format("noisy timings: in {} of {} the middle half of the runs spreads over more than 10 % of the "
                  "median (at worst {:.0f} %); is the machine busy? More --repeat helps",
                  noisy, counted(records.size(), "measurement"), 100 * worst));
}

}  // namespace

std::string bench_table(const std::vector<Json>& records) {
  using Cell = std::function<std::string(const Json&)>;
  Table table;
  std::vector<Cell> cells;
  const auto column = [&](const char* name, Cell cell, Table::Align align = Table::Align::right) {
    table.column(name, align);
    cells.push_back(std::move(cell));
  };
  column(
      "library", [](const Json& r) { return text(r["library"]); }, Table::Align::left);
  column("mode", mode, Table::Align::left);
  column("nq", [](const Json& r) { return number(r["nq"]); });
  if (varies(records, "nprobe")) column("nprobe", [](const Json& r) { return number(r["nprobe"]); });
  if (varies(records, "max_codes")) column("max_codes", [](const Json& r) { return number(r["max_codes"]); });
  if (any(records, "train_ms")) column("train", [](const Json& r) { return milliseconds(r["train_ms"]); });
  if (any(records, "add_ms")) column("add", [](const Json& r) { return milliseconds(r["add_ms"]); });
  column("search", [](const Json& r) { return milliseconds(r["search_ms"]); });
  column("min", [](const Json& r) { return milliseconds(r["search_ms_min"]); });
  column("spread", [](const Json& r) { return spread(r["search_ms_spread"]); });
  column("queries/s", [](const Json& r) { return rate(r["qps"]); });
  if (any(records, "recall_at_k")) column("recall@k", [](const Json& r) { return share(r["recall_at_k"]); });
  if (any(records, "recall_at_k_vs_unlimited")) {
    column("vs unlimited", [](const Json& r) { return share(r["recall_at_k_vs_unlimited"]); });
  }
  if (any(records, "speedup")) column("vs faiss (95 %)", speedup);
  for (const Json& record : records) {
    std::vector<std::string> row;
    for (const Cell& cell : cells) row.push_back(cell(record));
    table.row(std::move(row));
  }
  std::string out = heading(records) + "\n\n" + table.text();
  for (const Json& record : records) {
    if (!record["profile"].is_null()) out += profile_text(record);
  }
  return out;
}

BenchReport::BenchReport(Context& context, const BenchOptions& options)
    : context_(context),
      out_(options.out),
      lines_(context.options.json || (out_.empty() && !stdout_is_terminal())),
      table_(!lines_) {
  if (!out_.empty()) bench::check_appendable(out_);
}

void BenchReport::add(std::vector<bench::Json> records) {
  for (bench::Json& record : records) {
    if (lines_) print_json(record);
    records_.push_back(std::move(record));
  }
}

void BenchReport::finish() {
  throw_if_interrupted();
  if (!out_.empty()) {
    std::string lines;
    for (const bench::Json& record : records_) lines += to_line(record) + "\n";
    bench::append_lines(out_, lines);
    forget_signals();
  }
  if (table_) {
    Stdout out;
    out.write(bench_table(records_));
    out.flush();
  }
  warn_of_noise(context_.console, records_);
  if (!out_.empty()) context_.console.note(fmt::format("{} appended to {}", counted(records_.size(), "record"), out_));
}

}  // namespace ivf::cli
