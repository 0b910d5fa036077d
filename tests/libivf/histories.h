#pragma once
/// \file
/// Index files with a past, and what they must hold.

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "random_cases.h"
#include "support/temporary_directory.h"

namespace ivf::support {

/// A file with a past: rows that came in several commits, and some that were removed. `left` is what it must hold, in
/// the order of arrival.
struct History {
  std::vector<float> rows;
  std::vector<idx_t> ids;

  void save_empty(const Scene& scene, bool flat, const std::string& path, bool compress = false) const {
    SaveOptions options;
    options.compress = compress;
    if (flat) {
      IndexFlat(scene.d, scene.metric).save(path, options);
    } else {
      scene.empty_ivf().save(path, options);
    }
  }

  void append(FileAppender& appender, const Scene& scene, std::span<const std::size_t> positions,
              std::span<const idx_t> as) {
    std::vector<float> values;
    for (const std::size_t i : positions)
      values.insert(values.end(), scene.row_view().row(i), scene.row_view().row(i) + scene.d);
    appender.append(MatrixView(values.data(), positions.size(), scene.d), as);
    rows.insert(rows.end(), values.begin(), values.end());
    ids.insert(ids.end(), as.begin(), as.end());
  }

  void remove(FileAppender& appender, std::size_t d, const std::vector<idx_t>& gone) {
    const IdSet set{std::span<const idx_t>(gone)};
    appender.remove(set);
    History left;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (set.contains(ids[i])) continue;
      left.ids.push_back(ids[i]);
      left.rows.insert(left.rows.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * d),
                       rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * d));
    }
    *this = left;
  }

  /// Random commits of the scene's rows under random ids, some of them shared, and random removals.
  static History write(const Scene& scene, bool flat, const std::string& path, shapes::Random& random,
                       bool compress = false) {
    History history;
    history.save_empty(scene, flat, path, compress);
    for (std::size_t round = 0; round < 5; ++round) {
      FileAppender appender(path);
      std::vector<std::size_t> positions(random.below(scene.n() / 2));
      std::vector<idx_t> as(positions.size());
      for (std::size_t i = 0; i < positions.size(); ++i) {
        positions[i] = random.below(scene.n());
        as[i] = static_cast<idx_t>(random.below(2 * scene.n()));
      }
      // Removals concern what was committed before.
      std::vector<idx_t> gone;
      for (const idx_t id : history.ids) {
        if (random.unit() < 0.2) gone.push_back(id);
      }
      if (!gone.empty()) history.remove(appender, scene.d, gone);
      history.append(appender, scene, positions, as);
      appender.commit();
    }
    return history;
  }

  /// An index of these rows alone.
  std::unique_ptr<Index> fresh(const Scene& scene, bool flat) const {
    std::unique_ptr<Index> index;
    if (flat) {
      index = std::make_unique<IndexFlat>(scene.d, scene.metric);
    } else {
      index = std::make_unique<IndexIVFFlat>(scene.empty_ivf());
    }
    if (!ids.empty()) index->add_with_ids(MatrixView(rows.data(), ids.size(), scene.d), ids);
    return index;
  }
};

inline std::vector<SearchParams> some_params(std::size_t nlist, bool capped) {
  std::vector<SearchParams> all;
  for (const std::size_t nprobe : {std::size_t{1}, nlist / 2 + 1, nlist}) {
    for (const std::uint64_t max_codes : {0, 37}) {
      if (max_codes != 0 && !capped) continue;
      SearchParams params;
      params.k = 7;
      params.nprobe = nprobe;
      params.max_codes = max_codes;
      params.threads = 2;
      all.push_back(params);
    }
  }
  return all;
}

/// Whether both find the same, whatever is asked; `capped`: for as many rows scanned too, which depends on their order.
inline bool agree(const Index& a, const Index& b, const Scene& scene, bool capped = true) {
  for (const SearchParams& params : some_params(scene.nlist, capped)) {
    if (!same_results(a.search(scene.query_view(), params), b.search(scene.query_view(), params))) return false;
  }
  return true;
}

/// Names in a directory.
inline std::vector<std::string> names_in(const TemporaryDirectory& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path()))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace ivf::support
