#pragma once
// EventWriter: scalars for TensorBoard, as events.out.tfevents.NUMBER.moegrad in a folder.
//
// A file is a list of records (TFRecord), each one protocol buffer `Event`:
//   u64 length, u32 masked crc of the length, bytes, u32 masked crc of the bytes       little-endian
//   masked crc = rotate right by 15 of CRC-32C, + 0xa282ead8
//   Event { 1: double wall_time  2: int64 step  3: string file_version  5: Summary  7: SessionLog }
//   Summary { 1: Value { 1: string tag  2: float simple_value } }      SessionLog { 1: status, START = 1 }
// The first event has file_version "brain.Event:2". A record is handed to the system whole, so a killed run leaves at most
// one torn record at the end, which readers skip.
//
// Steps are counted as steps done: the loss of the first step is at 1, the evaluation before it at 0. A resumed run that
// had done n steps opens a file of the next number whose second event is a session start at n + 1 (at 0 for n = 0): readers drop
// what older files have from there on (TensorBoard's restart convention, as torch's purge_step writes it), so no step is shown twice.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), RFC 3720 section 12.1.
inline std::uint32_t crc32c(std::string_view bytes) {
    static const std::array<std::uint32_t, 256> table = [] {
        std::array<std::uint32_t, 256> all{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t c = i;
            for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
            all[i] = c;
        }
        return all;
    }();
    std::uint32_t crc = ~0u;
    for (const char c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
    return ~crc;
}

namespace detail {

/// The few pieces of protocol buffers and TFRecord that an event needs.
class EventBytes {
public:
    void varint(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7f) | 0x80);
        bytes_ += static_cast<char>(value);
    }
    void integer(int field, std::int64_t value) {
        key(field, 0);
        varint(static_cast<std::uint64_t>(value));
    }
    void real(int field, double value) {
        key(field, 1);
        fixed(std::bit_cast<std::uint64_t>(value), 8);
    }
    void real(int field, float value) {
        key(field, 5);
        fixed(std::bit_cast<std::uint32_t>(value), 4);
    }
    void text(int field, std::string_view value) {
        key(field, 2);
        varint(value.size());
        bytes_ += value;
    }
    void fixed(std::uint64_t value, int count) {
        for (int i = 0; i < count; ++i) bytes_ += static_cast<char>((value >> (8 * i)) & 0xff);
    }
    const std::string& bytes() const { return bytes_; }

private:
    void key(int field, int wire) {
        varint(static_cast<std::uint64_t>(field) << 3 | static_cast<unsigned>(wire));
    }
    std::string bytes_;
};

inline std::uint32_t masked_crc32c(std::string_view bytes) {
    return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

inline std::string event_record(std::string_view event) {
    EventBytes length, record;
    length.fixed(event.size(), 8);
    record.fixed(event.size(), 8);
    record.fixed(masked_crc32c(length.bytes()), 4);
    EventBytes end;
    end.fixed(masked_crc32c(event), 4);
    return record.bytes() + std::string(event) + end.bytes();
}

inline std::string scalar_event(const std::string& tag, std::int64_t step, double value,
                                double wall_seconds) {
    EventBytes one, summary, event;
    one.text(1, tag);
    one.real(2, static_cast<float>(value));
    summary.text(1, one.bytes());
    event.real(1, wall_seconds);
    event.integer(2, step);
    event.text(5, summary.bytes());
    return event.bytes();
}

inline constexpr std::string_view kEventPrefix = "events.out.tfevents.", kEventSuffix = ".moegrad";

/// The number after that of the last event file; readers take them in the order of their names.
inline std::int64_t next_event_number(const std::string& folder) {
    std::int64_t next = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(kEventPrefix) || !name.ends_with(kEventSuffix)) continue;
        std::int64_t number = -1;
        const char* end = name.data() + name.size() - kEventSuffix.size();
        const auto read = std::from_chars(name.data() + kEventPrefix.size(), end, number);
        if (read.ec == std::errc() && read.ptr == end && number < 9'999'999'999)
            next = std::max(next, number + 1);
    }
    return next;
}

}  // namespace detail

class EventWriter {
public:
    /// `steps_done`: of a run that goes on; -1: a run from its start.
    explicit EventWriter(const std::string& folder, double wall_seconds = 0, Index steps_done = -1) {
        std::error_code problem;
        std::filesystem::create_directories(folder, problem);
        if (problem) fail(folder, problem.value());
        path_ = format("{}/{}{:010}{}", folder, detail::kEventPrefix, detail::next_event_number(folder),
                       detail::kEventSuffix);
        descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (descriptor_ < 0) fail(path_, errno);
        detail::EventBytes version;
        version.real(1, wall_seconds);
        version.text(3, "brain.Event:2");
        append(version.bytes());
        if (steps_done < 0) return;
        detail::EventBytes start, status;
        status.integer(1, 1);
        start.real(1, wall_seconds);
        start.integer(2, steps_done == 0 ? 0 : steps_done + 1);
        start.text(7, status.bytes());
        append(start.bytes());
    }
    EventWriter(const EventWriter&) = delete;
    EventWriter& operator=(const EventWriter&) = delete;
    ~EventWriter() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

    const std::string& path() const { return path_; }

    /// One point of the curve `tag`, after `step` steps.
    void scalar(const std::string& tag, Index step, double value, double wall_seconds) {
        append(detail::scalar_event(tag, step, value, wall_seconds));
    }

private:
    void append(const std::string& event) const {
        const std::string record = detail::event_record(event);
        std::string_view left = record;
        while (!left.empty()) {
            const ssize_t written = ::write(descriptor_, left.data(), left.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) fail(path_, written < 0 ? errno : EIO);
            left.remove_prefix(static_cast<std::size_t>(written));
        }
    }
    [[noreturn]] static void fail(const std::string& path, int code) {
        throw Error{ErrorCode::file, path, "a file of TensorBoard events that can be written",
                    std::generic_category().message(code), "log.tensorboard = false does without"};
    }

    std::string path_;
    int descriptor_ = -1;
};

}  // namespace moegrad
