#pragma once
// adapter-best/: the adapter of the lowest held-out nll so far, beside adapter/. The new one takes the old one's place in one
// step (renameat2 with RENAME_EXCHANGE), so that whoever looks finds a whole adapter of one evaluation.

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <system_error>

#include <moegrad/io/durable_file.hpp>
#include <moegrad/train/adapter_files.hpp>

namespace moegrad {

namespace detail {

/// Puts the folder `from` in the place of `to`; what was there is removed once the exchange is on the disk.
inline void exchange_folder(const std::string& from, const std::string& to) {
    std::error_code problem;
    const std::string above = std::filesystem::path(to).parent_path().string(),
                      parent = above.empty() ? "." : above;
    if (std::filesystem::exists(to, problem)) {
#if defined(RENAME_EXCHANGE)
        const bool swapped = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0;
#else
        const bool swapped = false;
#endif
        if (swapped) {
            sync_folder(parent);
            std::filesystem::remove_all(from, problem);
            return;
        }
        std::filesystem::remove_all(to, problem);  // a file system without the exchange
    }
    std::filesystem::rename(from, to, problem);
    if (problem) throw Error{ErrorCode::file, to, "to put the folder in place", problem.message()};
    sync_folder(parent);
}

}  // namespace detail

template <class Real>
void save_best_adapter(Decoder<Real>& model, const AdapterSpec& spec, const std::string& run_folder) {
    const std::string to = run_folder + "/adapter-best", from = format("{}.writing-{}", to, ::getpid());
    std::error_code ignored;
    std::filesystem::remove_all(from, ignored);
    save_adapter(model, spec, from);
    detail::exchange_folder(from, to);
}

}  // namespace moegrad
