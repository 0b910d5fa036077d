#include "removal_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

namespace ivf::support {
namespace {

const std::vector<double> shares{0, 0.02, 0.5, 0.97, 1};

SearchParams uncapped(SearchParams params) {
  params.max_codes = 0;
  return params;
}

/// A search within a radius looks at the probed lists whatever the plan.
SearchParams scanned(SearchParams params) {
  params.filter.plan = FilterPlan::scan;
  return params;
}

}  // namespace

std::set<idx_t> some_ids(const Scene& scene, double share, shapes::Random& random) {
  std::set<idx_t> ids;
  for (std::size_t i = 0; i < scene.n(); ++i) {
    if (random.unit() < share) ids.insert(scene.stored().id(i));
  }
  return ids;
}

IdSet id_set(const std::set<idx_t>& ids) { return IdSet(std::vector<idx_t>(ids.begin(), ids.end())); }

Scene without(const Scene& scene, const std::set<idx_t>& ids) {
  Scene rest = scene;
  rest.rows.clear();
  rest.ids.clear();
  for (std::size_t i = 0; i < scene.n(); ++i) {
    const idx_t id = scene.stored().id(i);
    if (ids.count(id) != 0) continue;
    rest.rows.insert(rest.rows.end(), scene.rows.begin() + static_cast<std::ptrdiff_t>(i * scene.d),
                     scene.rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * scene.d));
    rest.ids.push_back(id);
  }
  rest.prepare();
  return rest;
}

Expectation::Expectation(const Scene& scene, const SearchParams& params, bool exact) : scene_(scene) {
  const oracle::InvertedFile lists(scene.metric, scene.stored(), scene.stored_centroids());
  const bool direct = params.filter.ids != nullptr && params.filter.plan == FilterPlan::direct;
  for (std::size_t q = 0; q < scene.nq(); ++q) {
    auto candidates = exact || direct ? oracle::everything(scene.n())
                                      : lists.candidates(scene.stored_query(q), params.nprobe, params.max_codes);
    if (params.filter.ids != nullptr) {
      std::erase_if(candidates, [&](std::size_t i) {
        return params.filter.ids->contains(scene.stored().id(i)) == params.filter.forbid;
      });
    }
    hits_.push_back(oracle::topk(scene.metric, scene.stored_query(q), scene.stored(), candidates, params.k));
    candidates_.push_back(std::move(candidates));
  }
}

std::string Expectation::check(const SearchResult& result, Tolerance* tolerance) const {
  for (std::size_t q = 0; q < hits_.size(); ++q) {
    const std::string wrong = difference(result, q, hits_[q], tolerance);
    if (!wrong.empty()) return fmt::format("query {}: {}", q, wrong);
  }
  return "";
}

std::string Expectation::check(const RangeResult& result, float radius, Tolerance* tolerance) const {
  for (std::size_t q = 0; q < candidates_.size(); ++q) {
    const auto within = oracle::within(scene_.metric, scene_.stored_query(q), scene_.stored(), candidates_[q], radius);
    const std::string wrong = difference(result, q, within, tolerance);
    if (!wrong.empty()) return fmt::format("radius {} query {}: {}", radius, q, wrong);
  }
  return "";
}

RemovalCase::RemovalCase(const CaseKind& kind, std::uint64_t seed)
    : one_(kind, seed),
      random_(seed, 79),
      gone_(some_ids(one_.scene(), random_.pick(shares), random_)),
      rest_(without(one_.scene(), gone_)) {
  named_ = some_ids(rest_, random_.pick(shares), random_);
  ask(one_.params());
  SearchParams filtered = one_.params();
  filtered.filter.ids = std::make_shared<const IdSet>(id_set(named_));
  filtered.filter.forbid = random_.below(2) == 0;
  filtered.filter.plan = random_.below(2) == 0 ? FilterPlan::scan : FilterPlan::direct;
  ask(filtered);
}

void RemovalCase::ask(const SearchParams& params) {
  const Expectation in_lists(rest_, params, false), in_all(rest_, params, true), near(rest_, scanned(params), false);
  questions_.push_back({params, in_lists, in_all, near, some_radius(rest_.metric, near.hits(), random_)});
}

std::string RemovalCase::check(const Placement& placement, Tolerance* tolerance) {
  auto ivf = one_.scene().ivf(random_.between(1, 4), placement);
  auto flat = one_.scene().flat(random_.between(1, 3), placement);
  const IdSet removed = id_set(gone_);
  const std::uint64_t count = ivf.remove_ids(removed);
  if (count != one_.scene().n() - rest_.n() || flat.remove_ids(removed) != count) return "another number was removed";
  if (ivf.size() != rest_.n() || ivf.remove_ids(removed) != 0) return "another number is left";
  for (const Question& question : questions_) {
    const std::string wrong = check(question, ivf, flat, tolerance);
    if (wrong.empty()) continue;
    const Filter& filter = question.params.filter;
    const char* plan = filter.ids == nullptr ? "no filter" : filter.plan == FilterPlan::scan ? "scanned" : "direct";
    return fmt::format("{}, {} gone, {} named{}, {}: {}", one_.about(), gone_.size(), named_.size(),
                       filter.forbid ? " (not)" : "", plan, wrong);
  }
  return "";
}

std::string RemovalCase::check(const Question& question, const IndexIVFFlat& ivf, const IndexFlat& flat,
                               Tolerance* tolerance) {
  const MatrixView queries = rest_.query_view();
  SearchParams params = question.params;
  for (const SearchMode mode : all_modes) {
    params.mode = mode;
    params.threads = random_.pick(std::vector<unsigned>{1, 2, 5});
    // A few rows at a time, so that allowed rows come in several blocks.
    params.max_memory = random_.below(2) == 0 ? 0 : 20000;
    const std::string in_lists = question.in_lists.check(ivf.search(queries, params), tolerance);
    if (!in_lists.empty()) return fmt::format("mode {}: lists: {}", static_cast<int>(mode), in_lists);
    const std::string in_all = question.in_all.check(flat.search(queries, uncapped(params)), tolerance);
    if (!in_all.empty()) return fmt::format("mode {}: flat: {}", static_cast<int>(mode), in_all);
    const std::string near =
        question.near.check(ivf.range_search(queries, question.radius, params), question.radius, tolerance);
    if (!near.empty()) return fmt::format("mode {}: range: {}", static_cast<int>(mode), near);
  }
  return "";
}

}  // namespace ivf::support
