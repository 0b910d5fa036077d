#include "life_cases.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <sstream>

#include <fmt/format.h>

#include "ivf/maintenance.hpp"

namespace ivf::support {
namespace {

constexpr const char* die_variable = "IVF_TEST_DIE_CHANGING";
constexpr idx_t most_named_id = 400;

/// What a change does; drawn from its numbers.
struct Plan {
  bool replace = false, commit_twice = false;
  std::vector<float> rows;
  std::vector<idx_t> ids;  ///< Empty: numbered.
  std::vector<IdRange> removed;
};

Plan plan_of(const Change& change, std::size_t dim) {
  shapes::Random random(change.seed, 1000 + change.number);
  Plan plan;
  const std::size_t kind = random.below(5);
  if (kind != 4) plan.rows = shapes::matrix(shapes::Kind::clustered, random.between(1, 60), dim, random);
  const std::size_t n = plan.rows.size() / dim;
  if (kind == 1 || kind == 2) {
    std::vector<idx_t> all(static_cast<std::size_t>(most_named_id));
    std::iota(all.begin(), all.end(), idx_t{0});
    for (std::size_t i = 0; i < n; ++i) std::swap(all[i], all[random.between(i, all.size() - 1)]);
    plan.ids.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n));
  }
  plan.replace = kind == 2;
  if (kind >= 3) {
    for (std::size_t i = random.between(1, 5); i > 0; --i) {
      const auto first = static_cast<idx_t>(random.below(3 * most_named_id));
      plan.removed.push_back({first, first + static_cast<idx_t>(random.below(40))});
    }
  }
  plan.commit_twice = random.below(4) == 0;
  return plan;
}

}  // namespace

void Model::add(std::size_t dim, const std::vector<float>& more, const std::vector<idx_t>& more_ids) {
  const std::size_t n = more.size() / dim;
  rows.insert(rows.end(), more.begin(), more.end());
  for (std::size_t i = 0; i < n; ++i) ids.push_back(more_ids.empty() ? static_cast<idx_t>(next_id + i) : more_ids[i]);
  next_id += n;
}

void Model::remove(std::size_t dim, const IdSet& gone) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (gone.contains(ids[i])) continue;
    ids[kept] = ids[i];
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(i * dim), dim,
                rows.begin() + static_cast<std::ptrdiff_t>(kept * dim));
    ++kept;
  }
  ids.resize(kept);
  rows.resize(kept * dim);
}

void Change::apply(const std::string& path, std::size_t dim) const {
  const Plan plan = plan_of(*this, dim);
  FileAppender appender(path);
  if (plan.replace) appender.replace_ids();
  if (!plan.removed.empty()) appender.remove(IdSet(plan.removed));
  const std::size_t n = plan.rows.size() / dim, first = plan.commit_twice && !one_commit ? n / 2 : n;
  const auto append = [&](std::size_t begin, std::size_t end) {
    const MatrixView rows(plan.rows.data() + begin * dim, end - begin, dim);
    if (plan.ids.empty()) {
      appender.append(rows);
    } else {
      appender.append(rows, std::span(plan.ids).subspan(begin, end - begin));
    }
    appender.commit();
  };
  append(0, first);
  if (first < n) append(first, n);
}

void Change::apply(Model& model, std::size_t dim) const {
  const Plan plan = plan_of(*this, dim);
  if (!plan.removed.empty()) model.remove(dim, IdSet(plan.removed));
  if (plan.replace) model.remove(dim, IdSet(plan.ids));
  model.add(dim, plan.rows, plan.ids);
}

Life::Life(std::uint64_t seed, Placement placement, std::string program)
    : random_(seed, 5),
      placement_(std::move(placement)),
      program_(std::move(program)),
      path_(directory_.file("index.ivf")),
      metric_(std::vector<Metric>{Metric::l2, Metric::ip, Metric::cosine}[random_.below(3)]),
      dim_(random_.between(1, 40)),
      nlist_(random_.between(1, 9)),
      seed_(seed) {
  IndexIVFFlat index(dim_, nlist_, metric_);
  const auto rows = shapes::matrix(shapes::Kind::clustered, 100, dim_, random_);
  index.train({rows.data(), 100, dim_});
  SaveOptions save;
  save.compress = random_.below(3) == 0;
  index.save(path_, save);
  take_centroids();
}

void Life::take_centroids() {
  const auto index = IndexIVFFlat::load(path_);
  nlist_ = index.info().nlist;
  centroids_ = index.centroids();
}

std::string Life::step() {
  std::string wrong;
  switch (random_.below(program_.empty() ? 10 : 12)) {
    case 0:
      wrong = compact();
      break;
    case 1:
      wrong = merge();
      break;
    case 2:
      wrong = split();
      break;
    case 3:
      wrong = abandon();
      break;
    case 10:
    case 11:
      wrong = kill();
      break;
    default:
      wrong = change();
  }
  if (wrong.empty()) wrong = check();
  largest_ = std::max(largest_, model_.ids.size());
  if (done_.size() > 300) done_.erase(0, done_.size() - 300);
  return wrong.empty()
             ? ""
             : fmt::format("seed {} ({}, d={}), after ...{}: {}", seed_, metric_name(metric_), dim_, done_, wrong);
}

std::string Life::change() {
  const Change change{seed_, changes_++, false};
  done_ += fmt::format(" change {}", change.number);
  // So that the model does not grow for ever.
  if (model_.ids.size() > 600) {
    const IdSet most(std::vector<IdRange>{{0, static_cast<idx_t>(model_.next_id) - 100}});
    FileAppender appender(path_);
    appender.remove(most);
    appender.commit();
    model_.remove(dim_, most);
  }
  change.apply(path_, dim_);
  change.apply(model_, dim_);
  return "";
}

std::string Life::abandon() {
  done_ += " abandon";
  FileAppender appender(path_);
  const auto rows = shapes::matrix(shapes::Kind::clustered, 20, dim_, random_);
  appender.remove(IdSet(std::vector<IdRange>{{0, 50}}));
  appender.append({rows.data(), 20, dim_});
  return "";
}

std::string Life::kill() {
  const Change change{seed_, changes_++, false};
  done_ += fmt::format(" kill {}", change.number);
  const std::string order = fmt::format("{} {} {} {}", change.seed, change.number, dim_, path_);
  setenv(die_variable, order.c_str(), 1);
  std::string program = program_;
  std::string filter = "[die]";
  char* arguments[] = {program.data(), filter.data(), nullptr};
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = posix_spawn(&child, program.c_str(), &quiet, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&quiet);
  unsetenv(die_variable);
  if (error != 0) return fmt::format("cannot start {}", program_);
  // Some die before the change, some during it, some after.
  usleep(static_cast<useconds_t>(random_.below(2) == 0 ? random_.below(60000) : 12000 + random_.below(12000)));
  ::kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  // It was killed, or had done its work: a process that cannot work would leave the old state for ever.
  if (!WIFSIGNALED(status) && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
    return fmt::format("the process that was to be killed ended with status {:#x}", status);
  }
  Model changed = model_;
  change.apply(changed, dim_);
  if (difference_to(changed).empty()) {
    ++killed_after_;
    model_ = std::move(changed);
    return "";
  }
  ++killed_before_;
  const std::string wrong = difference_to(model_);
  return wrong.empty() ? "" : "a kill left neither the old state nor the new one: " + wrong;
}

std::string Life::compact() {
  CompactOptions options;
  options.sort = random_.below(2) == 0;
  options.max_memory = random_.below(2) == 0 ? 0 : 100000;
  if (random_.below(3) == 0) options.compress = random_.below(2) == 0;
  done_ += options.sort ? " compact --sort" : " compact";
  const auto report = compact_index(path_, path_, options);
  const auto info = IndexIVFFlat::load(path_).info();
  if (report.rows != model_.ids.size() || info.removed != 0 || info.segments > 1) return "compacting left something";
  if (!options.sort) return "";
  // The order of arrival is lost: that of the ids takes its place.
  Model sorted;
  std::vector<std::size_t> order(model_.ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return model_.ids[a] < model_.ids[b]; });
  for (const std::size_t i : order) {
    const auto row = model_.rows.begin() + static_cast<std::ptrdiff_t>(i * dim_);
    sorted.rows.insert(sorted.rows.end(), row, row + static_cast<std::ptrdiff_t>(dim_));
    sorted.ids.push_back(model_.ids[i]);
  }
  const std::uint64_t behind_ids =
      sorted.ids.empty() || sorted.ids.back() < 0 ? 0 : static_cast<std::uint64_t>(sorted.ids.back()) + 1;
  sorted.next_id = std::max<std::uint64_t>(sorted.ids.size(), behind_ids);
  model_ = std::move(sorted);
  return "";
}

std::string Life::merge() {
  const std::string other = directory_.file("other.ivf"), merged = directory_.file("merged.ivf");
  const bool same_centroids = random_.below(2) == 0;
  const std::size_t n = random_.below(80);
  Model more;
  more.add(dim_, shapes::matrix(shapes::Kind::clustered, n, dim_, random_), {});
  IndexIVFFlat index(dim_, same_centroids ? nlist_ : random_.between(1, 7), metric_);
  if (same_centroids) {
    index.set_centroids({centroids_.data(), nlist_, dim_});
  } else {
    const auto rows = shapes::matrix(shapes::Kind::clustered, 50, dim_, random_);
    index.train({rows.data(), 50, dim_});
  }
  index.add({more.rows.data(), n, dim_});
  index.save(other);
  MergeOptions options;
  options.ids = random_.below(2) == 0 ? MergeIds::keep : MergeIds::shift;
  options.max_memory = random_.below(2) == 0 ? 0 : 100000;
  if (random_.below(3) == 0) {
    options.retrain.emplace();
    options.retrain->nlist = random_.between(1, 9);
    options.retrain->sample = random_.between(20, 200);
  }
  done_ += fmt::format(" merge{}{}", options.ids == MergeIds::shift ? " shift" : "", options.retrain ? " retrain" : "");
  const std::vector<std::string> both{path_, other};
  if (options.retrain && model_.ids.size() + n < options.retrain->nlist) options.retrain.reset();
  const auto report = merge_indexes(merged, both, options);
  std::filesystem::rename(merged, path_);
  const idx_t shift = report.id_offsets[1];
  if (options.ids == MergeIds::keep ? shift != 0 : shift < static_cast<idx_t>(model_.next_id))
    return fmt::format("merging raised ids by {}", shift);
  for (idx_t& id : more.ids) id += shift;
  const std::uint64_t before = model_.next_id;
  model_.add(dim_, more.rows, more.ids);
  take_centroids();
  const std::uint64_t next_id = IndexIVFFlat::load(path_).info().next_id;
  if (next_id < std::max<std::uint64_t>(before, model_.ids.size()))
    return fmt::format("merging set the numbering back to {}", next_id);
  model_.next_id = next_id;
  return report.rows == model_.ids.size() ? "" : "merging lost rows";
}

std::string Life::split() {
  SplitOptions options;
  options.by = random_.below(2) == 0 ? SplitBy::row : SplitBy::list;
  options.max_memory = random_.below(2) == 0 ? 0 : 100000;
  std::vector<std::string> shards;
  for (std::size_t i = random_.between(1, 4); i > 0; --i)
    shards.push_back(directory_.file(fmt::format("shard-{}.ivf", i)));
  done_ += fmt::format(" split {}", shards.size());
  split_index(path_, shards, options);
  std::string wrong = check_searches(shards);
  if (!wrong.empty()) return fmt::format("shards: {}", wrong);
  // One index of them again; the lists are in another order then, which only a cap of rows would see.
  MergeOptions together;
  together.ids = MergeIds::keep;
  merge_indexes(path_, shards, together);
  model_.next_id = IndexIVFFlat::load(path_).info().next_id;
  for (const auto& shard : shards) std::filesystem::remove(shard);
  return "";
}

std::string Life::difference_to(const Model& model) const {
  using Entry = std::pair<idx_t, std::vector<float>>;
  const auto index = IndexIVFFlat::load(path_);
  const auto info = index.info();
  if (info.rows != model.ids.size()) return fmt::format("{} rows instead of {}", info.rows, model.ids.size());
  if (info.next_id != model.next_id) return fmt::format("next id {} instead of {}", info.next_id, model.next_id);
  std::vector<Entry> found, expected;
  for (std::size_t l = 0; l < nlist_; ++l) {
    const auto ids = index.list_ids(l);
    const auto rows = index.list_vectors(l);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i * dim_);
      found.emplace_back(ids[i], std::vector<float>(row, row + static_cast<std::ptrdiff_t>(dim_)));
    }
  }
  const auto stored = metric_ == Metric::cosine ? oracle::normalized(model.rows, dim_) : model.rows;
  for (std::size_t i = 0; i < model.ids.size(); ++i) {
    const auto row = stored.begin() + static_cast<std::ptrdiff_t>(i * dim_);
    expected.emplace_back(model.ids[i], std::vector<float>(row, row + static_cast<std::ptrdiff_t>(dim_)));
  }
  std::sort(found.begin(), found.end());
  std::sort(expected.begin(), expected.end());
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i].first != expected[i].first)
      return fmt::format("id {} instead of {}", found[i].first, expected[i].first);
    if (found[i].second != expected[i].second) return fmt::format("another row with id {}", found[i].first);
  }
  return "";
}

Scene Life::scene() {
  Scene scene;
  scene.metric = metric_;
  scene.d = dim_;
  scene.nlist = nlist_;
  scene.rows = model_.rows;
  scene.ids = model_.ids;
  scene.centroids = centroids_;
  scene.queries = shapes::matrix(shapes::Kind::clustered, 4, dim_, random_);
  scene.prepare();
  return scene;
}

std::string Life::check() {
  const std::string wrong = difference_to(model_);
  if (!wrong.empty()) return wrong;
  if (random_.below(8) == 0) verify_index(path_, true);
  return check_searches({path_});
}

std::string Life::check_searches(const std::vector<std::string>& paths) {
  const Scene scene = this->scene();
  const oracle::InvertedFile lists(metric_, scene.stored(), scene.stored_centroids());
  SearchParams params;
  params.k = random_.between(1, 30);
  params.nprobe = random_.between(1, nlist_);
  params.mode = std::vector<SearchMode>{SearchMode::automatic, SearchMode::matrix, SearchMode::csr}[random_.below(3)];
  const std::size_t filter = random_.below(4);
  if (filter < 2) {
    const auto first = static_cast<idx_t>(random_.below(2 * most_named_id));
    params.filter.ids =
        std::make_shared<const IdSet>(std::vector<IdRange>{{first, first + static_cast<idx_t>(random_.below(200))}});
    params.filter.forbid = filter == 1;
    params.filter.plan = random_.below(2) == 0 ? FilterPlan::scan : FilterPlan::direct;
  }
  std::vector<std::vector<oracle::Hit>> found(scene.nq());
  for (const auto& path : paths) {
    auto index = load_index(path);
    index->to(placement_);
    const auto part = index->search(scene.query_view(), params);
    for (std::size_t q = 0; q < scene.nq(); ++q) {
      for (std::size_t i = q * params.k; i < (q + 1) * params.k && part.ids[i] != -1; ++i)
        found[q].push_back({part.distances[i], part.ids[i]});
    }
  }
  for (std::size_t q = 0; q < scene.nq(); ++q) {
    auto candidates = params.filter.plan == FilterPlan::direct
                          ? oracle::everything(scene.n())
                          : lists.candidates(scene.stored_query(q), params.nprobe, 0);
    if (params.filter.ids != nullptr) {
      const auto hidden = [&](std::size_t i) {
        return params.filter.ids->contains(scene.ids[i]) == params.filter.forbid;
      };
      candidates.erase(std::remove_if(candidates.begin(), candidates.end(), hidden), candidates.end());
    }
    auto expected = oracle::ranked(metric_, scene.stored_query(q), scene.stored(), candidates);
    expected.resize(std::min(expected.size(), params.k));
    std::sort(found[q].begin(), found[q].end(),
              [this](const oracle::Hit& a, const oracle::Hit& b) { return oracle::comes_before(metric_, a, b); });
    found[q].resize(std::min(found[q].size(), params.k));
    if (found[q] != expected) {
      return fmt::format("query {} (k {}, nprobe {}, mode {}, filter {}): other results than the oracle's", q, params.k,
                         params.nprobe, static_cast<int>(params.mode), filter);
    }
  }
  return "";
}

void die_changing() {
  const char* order = std::getenv(die_variable);
  if (order == nullptr) return;
  std::istringstream words(order);
  Change change;
  change.one_commit = true;
  std::size_t dim = 0;
  std::string path;
  words >> change.seed >> change.number >> dim >> path;
  change.apply(path, dim);
  std::_Exit(0);
}

}  // namespace ivf::support
