#include "hit_files.h"

#include <cerrno>
#include <cstring>

#include "destination.h"
#include "message.h"

namespace ivf::cli {

// While a vector grows, it takes twice its room.
HitFile::HitFile(const std::string& spec, std::uint64_t memory) : most_(memory / (2 * sizeof(QueryHits::hits[0]))) {
  const Destination source = parse_destination(spec);
  if (source.text != TextFormat::tsv && source.text != TextFormat::jsonl) {
    misuse("{}: results to merge are .tsv or .jsonl, or tsv:FILE or jsonl:FILE, which hold ids and distances", spec);
  }
  file_.open(source.path);
  if (!file_) failed("{}: cannot be opened: {}", source.path, std::strerror(errno));
  lines_.emplace(file_, source.path, source.text, ResultLines::Columns::ids_and_distances, memory);
  has_ahead_ = lines_->next(ahead_);
  next();
}

void HitFile::take_line() {
  if (ahead_.ids.size() > most_ - current_.hits.size())
    misuse("{}: query {} has more than {} results; raise --max-memory", lines_->name(), ahead_.query, grouped(most_));
  for (std::size_t i = 0; i < ahead_.ids.size(); ++i) current_.hits.emplace_back(ahead_.distances[i], ahead_.ids[i]);
  has_ahead_ = lines_->next(ahead_);
}

void HitFile::next() {
  at_end_ = !has_ahead_;
  if (at_end_) return;
  current_.query = ahead_.query;
  current_.hits.clear();
  do {
    take_line();
  } while (has_ahead_ && ahead_.query == current_.query);
}

}  // namespace ivf::cli
