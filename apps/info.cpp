// ivf info: what an index holds.

#include <algorithm>
#include <bit>

#include "command.h"
#include "ivf/format/container.hpp"
#include "ivf/index.hpp"
#include "message.h"
#include "stdout.h"
#include "summary.h"

namespace ivf::cli {
namespace {

/// How many lists have a size in [low, high].
struct Bin {
  std::uint64_t low, high, lists;
};

/// List sizes by powers of two: skewed lists are the rule, and a linear scale would show one bar.
std::vector<Bin> histogram(const std::vector<std::uint64_t>& sizes) {
  std::vector<std::uint64_t> counts(65);
  for (const std::uint64_t size : sizes) ++counts[static_cast<std::size_t>(std::bit_width(size))];
  const auto used = [](std::uint64_t count) { return count != 0; };
  const auto first = std::find_if(counts.begin(), counts.end(), used) - counts.begin();
  const auto last = counts.rend() - std::find_if(counts.rbegin(), counts.rend(), used);
  std::vector<Bin> bins;
  for (auto b = first; b < last; ++b) {
    const auto width = static_cast<unsigned>(b);
    const std::uint64_t low = width == 0 ? 0 : std::uint64_t{1} << (width - 1);
    bins.push_back({low, width == 0 ? 0 : low + (low - 1), counts[static_cast<std::size_t>(b)]});
  }
  return bins;
}

/// What was recorded about the training, in a few words; in full where it is not what this version writes.
std::string training_summary(const std::string& metadata) {
  const Json record = Json::parse(metadata, nullptr, false);
  if (!record.is_object()) return metadata;
  std::string summary;
  for (const auto& [key, value] : record.items()) {
    if (value.is_structured()) continue;
    const std::string text = value.is_string()         ? value.get<std::string>()
                             : value.is_number_float() ? fmt::format("{:.4g}", value.get<double>())
                                                       : value.dump();
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", key, text);
  }
  return summary;
}

class Info final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe("Show what an index holds: parameters, rows, the sizes of its lists, and its sections with -v.",
                     R"(Examples:
  ivf info sift.ivf
  ivf info sift.ivf -v
  ivf info sift.ivf --json | jq .imbalance
)");
    options.argument("INDEX", index_, "Index file");
  }

  int run(Context& context) override {
    const auto index = load_index(index_, context.options.run(Console::interrupt_only()));
    const auto file = format::Snapshot::open(index_, 1);
    const IndexInfo info = index->info();
    if (context.options.json) {
      print_json(to_json(info, *file));
    } else {
      print(info, *file, context.options.verbose);
    }
    return exit_done;
  }

 private:
  static void line(Stdout& out, const char* name, const std::string& value) {
    out.write(fmt::format("{:<12} {}\n", name, value));
  }

  void print(const IndexInfo& info, const format::Snapshot& file, bool sections) const {
    Stdout out;
    line(out, "index", index_);
    line(out, "kind", info.flat ? "flat" : "ivf");
    line(out, "metric", metric_name(info.metric));
    line(out, "dimensions", std::to_string(info.dim));
    line(out, "rows",
         info.removed == 0
             ? grouped(info.rows)
             : fmt::format("{}, and {} removed (`ivf compact` drops them)", grouped(info.rows), grouped(info.removed)));
    if (info.next_id != info.rows) line(out, "next id", std::to_string(info.next_id));
    if (!info.flat) line(out, "lists", grouped(info.nlist));
    const std::string training = sections ? info.metadata : training_summary(info.metadata);
    if (!training.empty()) line(out, "training", training);
    line(out, "file",
         fmt::format("{}{}, format {}, generation {}, {}{}", human_bytes(file.file_bytes()),
                     info.rows ? fmt::format(" ({} a row)", human_bytes(file.file_bytes() / info.rows)) : "",
                     file.format_version(), file.generation(), counted(info.segments, "segment"),
                     file.compressed() ? ", compressed" : ""));
    line(out, "hash", file.hash());
    if (!info.flat && info.rows > 0) print_lists(out, info);
    if (sections) print_sections(out, file);
    out.flush();
  }

  static void print_lists(Stdout& out, const IndexInfo& info) {
    const auto [smallest, largest] = std::minmax_element(info.list_sizes.begin(), info.list_sizes.end());
    line(out, "list sizes",
         fmt::format("{} to {}, imbalance {:.3f}", grouped(*smallest), grouped(*largest), info.imbalance));
    const std::vector<Bin> bins = histogram(info.list_sizes);
    std::uint64_t most = 0;
    for (const Bin& bin : bins) most = std::max(most, bin.lists);
    constexpr std::uint64_t widest = 40;
    for (const Bin& bin : bins) {
      // Rounded up: a list that exists is seen.
      const std::uint64_t bar = (bin.lists * widest + most - 1) / most;
      const std::string range = bin.low == bin.high ? grouped(bin.low) : grouped(bin.low) + "-" + grouped(bin.high);
      std::string text = fmt::format("{:>24}  {:<{}}  {}", range, std::string(bar, '#'), widest, grouped(bin.lists));
      out.write(text + "\n");
    }
  }

  static void print_sections(Stdout& out, const format::Snapshot& file) {
    out.write(fmt::format("\n{:<16} {:>8} {:>14} {:>14} {:>14}\n", "section", "segment", "offset", "stored", "raw"));
    for (const format::SectionInfo& section : file.sections()) {
      out.write(fmt::format("{:<16} {:>8} {:>14} {:>14} {:>14}\n", section.name,
                            section.segment < 0 ? "-" : std::to_string(section.segment), section.offset,
                            section.stored_bytes, section.raw_bytes));
    }
  }

  Json to_json(const IndexInfo& info, const format::Snapshot& file) const {
    Json sections = Json::array();
    for (const format::SectionInfo& section : file.sections()) {
      sections.push_back({{"name", section.name},
                          {"segment", section.segment},
                          {"offset", section.offset},
                          {"stored_bytes", section.stored_bytes},
                          {"raw_bytes", section.raw_bytes},
                          {"compressed", section.compressed}});
    }
    Json sizes = Json::array();
    for (const Bin& bin : histogram(info.list_sizes))
      sizes.push_back({{"from", bin.low}, {"to", bin.high}, {"lists", bin.lists}});
    const auto [smallest, largest] = std::minmax_element(info.list_sizes.begin(), info.list_sizes.end());
    const Json training = Json::parse(info.metadata, nullptr, false);
    return {{"index", index_},
            {"kind", info.flat ? "flat" : "ivf"},
            {"metric", metric_name(info.metric)},
            {"dim", info.dim},
            {"nb", info.rows},
            {"removed", info.removed},
            {"next_id", info.next_id},
            {"nlist", info.nlist},
            {"seed", info.seed},
            {"training", training.is_discarded() ? Json(info.metadata) : training},
            {"segments", info.segments},
            {"generation", file.generation()},
            {"format_version", file.format_version()},
            {"compressed", file.compressed()},
            {"file_bytes", file.file_bytes()},
            {"index_hash", file.hash()},
            {"imbalance", info.imbalance},
            {"list_size_min", *smallest},
            {"list_size_max", *largest},
            {"list_sizes", sizes},
            {"sections", sections}};
  }

  std::string index_;
};

}  // namespace

std::unique_ptr<Command> make_info() { return std::make_unique<Info>(); }

}  // namespace ivf::cli
