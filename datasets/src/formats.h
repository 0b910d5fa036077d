#pragma once
/// \file
/// The makers of readers and writers, one pair a family of formats.

#include <memory>

#include "input.h"
#include "ivf/datasets/datasets.hpp"
#include "spec.h"

namespace ivf::datasets {

std::unique_ptr<Reader> open_vecs(const Spec& spec, const ReadOptions& options);
std::unique_ptr<Reader> open_bigann(const Spec& spec, const ReadOptions& options);
std::unique_ptr<Reader> open_npy(const Spec& spec, const ReadOptions& options);
std::unique_ptr<Reader> open_hdf5(const Spec& spec, const ReadOptions& options);
std::unique_ptr<Reader> open_generated(const Spec& spec, const ReadOptions& options);

std::unique_ptr<Writer> create_vecs(const Spec& spec, const WriteOptions& options);
std::unique_ptr<Writer> create_bigann(const Spec& spec, const WriteOptions& options);
std::unique_ptr<Writer> create_ground_truth(const Spec& spec, const WriteOptions& options);
std::unique_ptr<Writer> create_npy(const Spec& spec, const WriteOptions& options);
std::unique_ptr<Writer> create_hdf5(const Spec& spec, const WriteOptions& options);

}  // namespace ivf::datasets
