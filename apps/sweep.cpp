#include "sweep.h"

#include <algorithm>
#include <set>

#include "bench_report.h"
#include "message.h"

namespace ivf::cli {
namespace {

class Sweep final : public Command {
 public:
  explicit Sweep(SweepKind kind) : kind_(std::move(kind)), values_(kind_.values) {
    bench_.defaults.modes = kind_.modes;
  }

  void define(OptionSet& options) override {
    options.describe(kind_.description, kind_.examples);
    options.group("Sweep options");
    options
        .value(kind_.list_option, "N,N,...", kind_.list_help,
               [this](std::string_view option, std::string_view text) {
                 values_ = parse_counts(option, text, kind_.min);
                 given_ = true;
               })
        .shows(kind_.shown);
    bench_.define(options, kind_.swept);
    if (kind_.recall_option) {
      options.group("Measurement options");
      options.flag("--recall", kind_.wanted.recall, "Search exactly as well and report recall@k");
    }
  }

  int run(Context& context) override {
    bench_.check();
    BenchReport report(context, bench_);
    std::vector<BenchPoint> points = points_asked_for();
    std::uint64_t most_nq = 0;
    for (const BenchPoint& point : points) most_nq = std::max(most_nq, point.nq);
    BenchSession session(context, bench_, kind_.command, most_nq, kind_.wanted);
    for (const BenchPoint& point : possible(context, session, points)) report.add(session.measure(point));
    session.finish();
    report.finish();
    return exit_done;
  }

 private:
  std::vector<BenchPoint> points_asked_for() const {
    std::vector<BenchPoint> points;
    for (const std::uint64_t value : values_) {
      BenchPoint point{bench_.nq.value_or(bench_.defaults.nq), bench_.nprobe.value_or(bench_.defaults.nprobe),
                       bench_.max_codes};
      point.*kind_.parameter = value;
      points.push_back(point);
    }
    return points;
  }

  /// Larger batches than there are queries, and more probes than there are lists, mean as many as there are; what is
  /// then measured already is left out.
  std::vector<BenchPoint> possible(Context& context, const BenchSession& session,
                                   const std::vector<BenchPoint>& points) const {
    std::vector<BenchPoint> kept;
    std::set<std::uint64_t> seen;
    for (BenchPoint point : points) {
      const std::uint64_t asked = point.*kind_.parameter;
      point.nq = std::min<std::uint64_t>(point.nq, session.queries());
      point.nprobe = std::min<std::uint64_t>(point.nprobe, session.nlist());
      const std::uint64_t value = point.*kind_.parameter;
      if (value != asked && given_) {
        context.console.warn(
            fmt::format("{}: {} is measured as {}, more there are not", kind_.list_option, asked, value));
      }
      if (seen.insert(value).second) kept.push_back(point);
    }
    return kept;
  }

  SweepKind kind_;
  std::vector<std::uint64_t> values_;
  bool given_ = false;
  BenchOptions bench_;
};

}  // namespace

std::unique_ptr<Command> make_sweep(SweepKind kind) { return std::make_unique<Sweep>(std::move(kind)); }

}  // namespace ivf::cli
