#include "destination.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "message.h"
#include "stdout.h"

namespace ivf::cli {
namespace {

struct TextName {
  std::string_view prefix;
  std::string_view extension;
  TextFormat format;
};

constexpr std::array<TextName, 3> text_names{{
    {"jsonl:", ".jsonl", TextFormat::jsonl},
    {"tsv:", ".tsv", TextFormat::tsv},
    {"table:", ".txt", TextFormat::table},
}};

}  // namespace

Destination parse_destination(const std::string& spec, TextFormat fallback) {
  if (spec == "-") return {spec, spec, fallback};
  for (const TextName& name : text_names) {
    if (spec.starts_with(name.prefix) && spec.size() > name.prefix.size()) {
      return {spec, spec.substr(name.prefix.size()), name.format};
    }
  }
  for (const TextName& name : text_names) {
    if (spec.ends_with(name.extension)) return {spec, spec, name.format};
  }
  return {spec, datasets::path_of(spec), TextFormat::none};
}

bool is_ground_truth(std::string_view spec) noexcept { return spec.starts_with("gt:"); }

bool Destination::stream() const noexcept {
  struct stat info {};
  return pipe() || (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode));
}

void check_result_format(const Destination& destination) {
  if (destination.text != TextFormat::none) return;
  try {
    datasets::fixed_element(destination.spec);
  } catch (const Error&) {
    misuse(
        "'{}' has no extension that tells its format; results are written as .tsv .jsonl .h5 .ivecs .ibin .npy; or "
        "put the format first, as in tsv:{}",
        destination.spec, destination.spec);
  }
}

void check_destination(const Destination& destination, bool force) {
  if (destination.pipe()) {
    if (destination.text == TextFormat::none && stdout_is_terminal()) {
      misuse("{}: binary data are not written to a terminal; redirect them, or name a file", destination.spec);
    }
    return;
  }
  const std::string& path = destination.path;
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) misuse("{}: is a directory; name a file in it", path);
    if (!S_ISREG(info.st_mode)) return;
    if (!force) misuse("{}: exists; --force replaces it", path);
  }
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    failed("{}: cannot be created: {}: {}", path, directory, std::strerror(errno));
  }
}

datasets::Element destination_element(const Destination& destination, datasets::Element otherwise) {
  return datasets::fixed_element(destination.spec).value_or(otherwise);
}

}  // namespace ivf::cli
