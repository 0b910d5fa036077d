#pragma once
/// \file
/// Several files that appear together.

#include <string>
#include <vector>

namespace ivf::cli {

/// Files are written, whole, under names beside their destinations; publish() then renames them all. Everything that
/// can usually fail (a full disk, a bad value) has failed before the first rename. Destruction without publish()
/// removes them.
class StagedFiles {
 public:
  StagedFiles() = default;
  StagedFiles(const StagedFiles&) = delete;
  StagedFiles& operator=(const StagedFiles&) = delete;
  ~StagedFiles();

  /// The name to write `path` under: in the same directory, with the same extension. Symbolic links are followed.
  std::string stage(const std::string& path);
  void publish();

 private:
  struct File {
    std::string temporary;
    std::string path;
  };
  std::vector<File> files_;
};

}  // namespace ivf::cli
