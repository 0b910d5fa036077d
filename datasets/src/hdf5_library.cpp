#include "hdf5_library.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "errors.h"

namespace ivf::datasets {

namespace {

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

herr_t keep_first_reason(unsigned, const H5E_error2_t* entry, void* text) noexcept {
  auto& reason = *static_cast<std::string*>(text);
  if (reason.empty() && entry->desc != nullptr) reason = entry->desc;
  return 0;
}

/// Called when a name leads through an external link. Following it would read a file that the user did not name.
herr_t refuse_external_link(const char*, const char*, const char*, const char*, unsigned*, hid_t, void* met) noexcept {
  *static_cast<bool*>(met) = true;
  return -1;
}

struct DatasetList {
  std::vector<std::string> names;
  std::size_t visited = 0;
};

herr_t collect_dataset(hid_t, const char* name, const H5O_info_t* info, void* list) noexcept {
  constexpr std::size_t kMaxNames = 20;
  constexpr std::size_t kMaxVisits = 10000;
  auto& found = *static_cast<DatasetList*>(list);
  try {
    if (info->type == H5O_TYPE_DATASET) found.names.emplace_back(name);
  } catch (const std::exception&) {
    return 1;  // the list is for a message; a short one will do
  }
  return found.names.size() == kMaxNames || ++found.visited == kMaxVisits ? 1 : 0;
}

std::string existing_datasets(hid_t file) {
  DatasetList list;
  H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, collect_dataset, &list, H5O_INFO_BASIC);
  return list.names.empty() ? "it has none at all"
                            : fmt::format("it has {}; choose one with FILE:NAME", fmt::join(list.names, ", "));
}

/// Refuses data that lie outside the file.
void check_storage(hid_t dataset, const std::string& name) {
  const Hdf5Id plist(H5Dget_create_plist(dataset));
  if (!plist) throw corrupt("{}: its properties cannot be read: {}", name, hdf5_reason());
  const char* outside = nullptr;
  if (H5Pget_layout(plist.get()) == H5D_VIRTUAL) outside = "is a virtual data set";
  if (H5Pget_external_count(plist.get()) > 0) outside = "keeps its data in other files";
  if (outside != nullptr) {
    throw corrupt("{}: {}; such files are not opened; copy the data into one file (h5repack -l CONTI)", name, outside);
  }
}

}  // namespace

void hdf5_after_fork() { new (&library_mutex()) std::recursive_mutex; }

Hdf5Guard::Hdf5Guard() : lock_(library_mutex()) {
  // Every handle is closed here, so the library has nothing to do at exit but to complain, on stderr, about what a
  // damaged file has left inside it. Heeded only before any other call.
  H5dont_atexit();
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5PLset_loading_state(0);
}

Hdf5Guard::~Hdf5Guard() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

const char* hdf5_default_dataset(Role role) noexcept {
  switch (role) {
    case Role::queries:
      return "test";
    case Role::neighbors:
      return "neighbors";
    case Role::distances:
      return "distances";
    default:
      return "train";
  }
}

std::string hdf5_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first_reason, &reason);
  // Failed system calls are reported with time, address and sizes; the system's own words are enough.
  constexpr std::string_view system_words = "error message = '";
  if (const std::size_t at = reason.find(system_words); at != std::string::npos) {
    reason.erase(0, at + system_words.size());
    reason.resize(std::min(reason.find('\''), reason.size()));
  }
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  return reason.empty() ? "the HDF5 library gives no reason" : reason;
}

bool hdf5_open_refused() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first_reason, &reason);
  return reason.rfind("unable to open file: name = ", 0) == 0;
}

LinkAccess::LinkAccess(hid_t property_class) : id_(H5Pcreate(property_class)) {
  H5Pset_elink_cb(id_.get(), refuse_external_link, &met_);
}

Hdf5Id hdf5_open_file(const std::string& path) {
  struct stat info {};
  const int fd = path == "-" ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (path != "-" && fd < 0) throw failed("{}: cannot be opened: {}", path, std::strerror(errno));
  const bool regular = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (fd >= 0) ::close(fd);
  if (!regular) throw misuse("{}: is no regular file; HDF5 cannot be read from a pipe or a folder", path);
  Hdf5Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
  if (!file) throw corrupt("{}: cannot be read as HDF5: {}", path, hdf5_reason());
  return file;
}

Hdf5Id hdf5_open_dataset(hid_t file, const std::string& path, const std::string& dataset) {
  const LinkAccess access(H5P_DATASET_ACCESS);
  // Without a cache the library reads parts of chunks that have no filters straight from their places. Into a cache it
  // reads as many bytes as the chunk's entry says, and then takes them for a whole chunk.
  H5Pset_chunk_cache(access.get(), 1, 0, 0);
  const std::string name = path + ":" + dataset;
  Hdf5Id id(H5Dopen2(file, dataset.c_str(), access.get()));
  if (!id) {
    const std::string reason = hdf5_reason();
    if (access.met_external_link())
      throw corrupt("{}: is a link to another file; links are not followed; name that file", name);
    const LinkAccess link_access(H5P_LINK_ACCESS);
    if (H5Oexists_by_name(file, dataset.c_str(), link_access.get()) <= 0) {
      throw misuse("{}: has no data set '{}'; {}", path, dataset, existing_datasets(file));
    }
    if (const Hdf5Id group(H5Gopen2(file, dataset.c_str(), H5P_DEFAULT)); group) {
      throw misuse("{}: is a group, not a data set; {}", name, existing_datasets(file));
    }
    throw corrupt("{}: cannot be opened: {}", name, reason);
  }
  check_storage(id.get(), name);
  return id;
}

std::string hdf5_root_attribute(hid_t file, const std::string& path, const std::string& name) {
  constexpr std::size_t kMaxText = 4096;
  if (H5Aexists_by_name(file, "/", name.c_str(), H5P_DEFAULT) <= 0) return {};
  const Hdf5Id attribute(H5Aopen_by_name(file, "/", name.c_str(), H5P_DEFAULT, H5P_DEFAULT));
  const Hdf5Id type(attribute ? H5Aget_type(attribute.get()) : H5I_INVALID_HID);
  const Hdf5Id space(attribute ? H5Aget_space(attribute.get()) : H5I_INVALID_HID);
  if (!type || !space) throw corrupt("{}: attribute '{}' cannot be read: {}", path, name, hdf5_reason());
  if (H5Tget_class(type.get()) != H5T_STRING || H5Sget_simple_extent_npoints(space.get()) != 1) {
    throw corrupt("{}: expected attribute '{}' to be one string, found something else", path, name);
  }
  std::string text;
  if (H5Tis_variable_str(type.get()) > 0) {
    char* value = nullptr;
    if (H5Aread(attribute.get(), type.get(), &value) < 0) {
      throw corrupt("{}: attribute '{}' cannot be read: {}", path, name, hdf5_reason());
    }
    if (value != nullptr) text.assign(value, strnlen(value, kMaxText));
    H5free_memory(value);
  } else {
    const std::size_t size = H5Tget_size(type.get());
    if (size > kMaxText) throw corrupt("{}: attribute '{}' is longer than {} bytes", path, name, kMaxText);
    text.resize(size);
    if (H5Aread(attribute.get(), type.get(), text.data()) < 0) {
      throw corrupt("{}: attribute '{}' cannot be read: {}", path, name, hdf5_reason());
    }
  }
  text.resize(strnlen(text.data(), text.size()));
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace ivf::datasets
