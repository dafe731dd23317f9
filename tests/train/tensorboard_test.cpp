#include <moegrad/train/step_scalars.hpp>
#include <moegrad/train/tensorboard.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <map>

#include "io/support.hpp"

using namespace moegrad;

namespace {

/// CRC-32C bit by bit, most significant coefficient first on reflected bytes: another road than the table.
std::uint32_t crc_by_bits(const std::string& bytes) {
    std::uint32_t rest = 0xffffffffu;
    for (const char c : bytes) {
        for (int bit = 0; bit < 8; ++bit) {
            const std::uint32_t in = (static_cast<unsigned char>(c) >> bit) & 1u;
            const std::uint32_t out = rest >> 31;
            rest = (rest << 1) ^ (in != out ? 0x1edc6f41u : 0u);
        }
    }
    std::uint32_t turned = 0;
    for (int bit = 0; bit < 32; ++bit) turned |= ((rest >> bit) & 1u) << (31 - bit);
    return ~turned;
}

template <class Number>
Number number_at(const std::string& bytes, std::size_t at) {
    Number value;
    REQUIRE(at + sizeof value <= bytes.size());
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

std::uint32_t unmasked(std::uint32_t masked) {
    const std::uint32_t turned = masked - 0xa282ead8u;
    return (turned >> 17) | (turned << 15);
}

/// The fields of a message as text: 0 varint, 1 eight bytes, 2 bytes, 5 four bytes.
std::map<int, std::string> fields_of(const std::string& message) {
    std::map<int, std::string> fields;
    std::size_t at = 0;
    const auto varint = [&] {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            REQUIRE(at < message.size());
            const auto byte = static_cast<unsigned char>(message[at++]);
            value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
    };
    while (at < message.size()) {
        const std::uint64_t key = varint();
        const int field = static_cast<int>(key >> 3), wire = static_cast<int>(key & 7);
        if (wire == 0) {
            fields[field] = std::to_string(varint());
            continue;
        }
        const std::size_t size = wire == 1 ? 8 : wire == 5 ? 4 : varint();
        REQUIRE(at + size <= message.size());
        fields[field] = message.substr(at, size);
        at += size;
    }
    return fields;
}

struct ReadEvent {
    double wall = 0;
    std::string step = "0", version, tag, start;
    float value = 0;
};

std::vector<ReadEvent> events_of(const std::string& path) {
    const std::string file = io_test::read_text(path);
    std::vector<ReadEvent> all;
    for (std::size_t at = 0; at < file.size();) {
        const std::size_t size = number_at<std::uint64_t>(file, at);
        REQUIRE(unmasked(number_at<std::uint32_t>(file, at + 8)) == crc_by_bits(file.substr(at, 8)));
        const std::string message = file.substr(at + 12, size);
        REQUIRE(unmasked(number_at<std::uint32_t>(file, at + 12 + size)) == crc_by_bits(message));
        at += 16 + size;
        auto fields = fields_of(message);
        ReadEvent event{number_at<double>(fields.at(1), 0), "0", fields[3], "", "", 0};
        if (fields.count(2) > 0) event.step = fields[2];
        if (fields.count(5) > 0) {
            auto value = fields_of(fields_of(fields[5]).at(1));
            event.tag = value.at(1);
            event.value = number_at<float>(value.at(2), 0);
        }
        if (fields.count(7) > 0) event.start = fields_of(fields[7]).at(1);
        all.push_back(event);
    }
    return all;
}

}  // namespace

TEST_CASE("tensorboard: CRC-32C of RFC 3720, appendix B.4") {
    std::string up(32, '\0'), down(32, '\0');
    for (int i = 0; i < 32; ++i) up[static_cast<std::size_t>(i)] = static_cast<char>(i);
    for (int i = 0; i < 32; ++i) down[static_cast<std::size_t>(i)] = static_cast<char>(31 - i);
    CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
    CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
    CHECK(crc32c(up) == 0x46dd794eu);
    CHECK(crc32c(down) == 0x113fdb5cu);
    CHECK(crc32c("123456789") == 0xe3069283u);
    CHECK(crc_by_bits(up) == 0x46dd794eu);
}

TEST_CASE("tensorboard: a record has the bytes that TensorBoard's own writer makes of it") {
    // Event(wall_time=1000.5, file_version="brain.Event:2") and Event(wall_time=1000.5, step=7, summary of train/ce = 2.5),
    // written by RecordWriter of the package tensorboard 2.21.0.
    const io_test::TemporaryFolder folder;
    EventWriter writer(folder.path(), 1000.5);
    writer.scalar("train/ce", 7, 2.5, 1000.5);
    std::string hex;
    for (const char c : io_test::read_text(writer.path()))
        hex += format("{:02x}", static_cast<unsigned char>(c));
    CHECK(hex ==
          "1800000000000000a37f4b22090000000000448f401a0d627261696e2e4576656e743a32aba33345"
          "1e00000000000000d9dc1232090000000000448f4010072a110a0f0a08747261696e2f6365150000"
          "20402ba45142");
}

TEST_CASE(
    "tensorboard: events read back; a run that goes on opens a new file that drops what it does again") {
    const io_test::TemporaryFolder folder;
    const std::string events = folder.file("events");
    {
        EventWriter writer(events, 10);
        writer.scalar("eval/nll", 0, 3.25, 11);
        writer.scalar("train/ce", 1, 3.5, 12.5);
        writer.scalar("train/ce", 300, -0.125, 13);
    }
    EventWriter more(events, 20, 200);
    more.scalar("train/ce", 201, 1.5, 21);
    CHECK(more.path() == events + "/events.out.tfevents.0000000001.moegrad");
    const auto first = events_of(events + "/events.out.tfevents.0000000000.moegrad"),
               second = events_of(more.path());
    REQUIRE(first.size() == 4);
    CHECK(first[0].version == "brain.Event:2");
    CHECK(first[0].wall == 10);
    CHECK(first[1].tag == "eval/nll");
    CHECK(first[1].step == "0");
    CHECK(first[2].value == 3.5f);
    CHECK(first[2].wall == 12.5);
    CHECK(first[3].step == "300");
    CHECK(first[3].value == -0.125f);
    REQUIRE(second.size() == 3);
    CHECK(second[0].version == "brain.Event:2");
    CHECK(second[1].start == "1");  // SessionLog.START
    CHECK(second[1].step == "201");
    CHECK(second[2].step == "201");
    io_test::expect_error(ErrorCode::file, "log.tensorboard", [&] { EventWriter(more.path() + "/inside"); });
}

TEST_CASE("step scalars: how evenly experts are used, from the definitions") {
    // 4 experts with 6, 2, 0 and 0 slots: u = 3, 1, 0, 0; cv = sqrt((4 + 0 + 1 + 1) / 4); exp(H) / E of (3/4, 1/4).
    const std::vector<std::int64_t> slots{6, 2, 0, 0};
    const auto use = moegrad::detail::expert_use(slots);
    CHECK(use.utilization == std::vector<double>{3, 1, 0, 0});
    CHECK(use.cv == doctest::Approx(1.224744871391589));
    CHECK(use.dead == 0.5);
    CHECK(use.diversity == doctest::Approx(std::exp(0.5623351446188083) / 4));
    const std::vector<std::int64_t> even{5, 5, 5, 5}, none{0, 0};
    CHECK(moegrad::detail::expert_use(even).cv == 0);
    CHECK(moegrad::detail::expert_use(even).diversity == doctest::Approx(1));
    CHECK(moegrad::detail::expert_use(none).diversity == 0);
    CHECK(moegrad::detail::quantile_of({0, 1, 2, 3}, 0.25) == 0.75);
    CHECK(moegrad::detail::layer_number("model.layers.12.mlp") == 12);
    CHECK(routing_scalars({}, 4).empty());
}
