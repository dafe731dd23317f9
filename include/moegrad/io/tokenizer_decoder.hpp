#pragma once
// From pieces back to text: U+2581 to space, byte pieces <0xNN> to bytes, the leading space that encoding put there
// taken away; or, byte-level, every character to the byte it stands for. The steps and their order are those of
// tokenizer.json ("decoder"); see tokenizers, decoders/.

#include <moegrad/io/tokenizer_bytes.hpp>
#include <moegrad/io/utf8.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace moegrad {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, which stands for a space in pieces

struct DecoderOptions {
    enum class Marks { keep, to_space };
    Marks marks = Marks::to_space;
    bool drop_first_marks = false;  // Metaspace: the first piece loses its marks altogether
    bool byte_fallback = false;
    bool byte_level =
        false;  // and nothing of the above; a piece with a character that is no byte is as it is
    std::size_t strip_leading = 0;  // at most so many spaces at the start of the whole text
};

/// The byte of a piece such as <0x0A>, else -1.
constexpr int piece_byte(std::string_view piece) {
    if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
    int byte = 0;
    for (const char c : piece.substr(3, 2)) {
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return -1;
        byte = 16 * byte + digit;
    }
    return byte;
}

inline std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
    std::string out;
    std::size_t done = 0;
    for (std::size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
        out += text.substr(done, at - done);
        out += to;
        done = at + from.size();
    }
    out += text.substr(done);
    return out;
}

/// What becomes of bytes that are no UTF-8.
enum class BrokenBytes {
    replace_run,  // as the reference: one U+FFFD for every byte of the run of byte pieces
    replace_each,  // U+FFFD for the bytes that are wrong only; characters are ready as soon as they are complete
};

/// Takes pieces one by one and hands out text as it becomes certain.
class PieceDecoder {
public:
    PieceDecoder(DecoderOptions options, BrokenBytes broken)
        : options_(options), broken_(broken), to_strip_(options.strip_leading) {}

    void push(std::string_view piece) {
        if (options_.byte_level) {
            run_ += characters_to_bytes(piece).value_or(std::string(piece));
            emit_complete();
            return;
        }
        const bool first = first_;
        first_ = false;
        const int byte = options_.byte_fallback ? piece_byte(piece) : -1;
        if (byte >= 0) {
            run_ += static_cast<char>(byte);
            if (broken_ == BrokenBytes::replace_each) emit_complete();
            return;
        }
        end_run();
        if (options_.marks == DecoderOptions::Marks::keep)
            emit(piece);
        else
            emit(replace_all(piece, kSpaceMark, first && options_.drop_first_marks ? "" : " "));
    }

    /// No more pieces follow the last byte.
    void end_run() {
        if (run_.empty()) return;
        if (options_.byte_level) {
            emit(kReplacementCharacter);  // what is left is the start of one character
        } else if (is_utf8(run_)) {
            emit(run_);
        } else {
            for (std::size_t i = 0; i < run_.size(); ++i) emit(kReplacementCharacter);
        }
        run_.clear();
    }

    /// Whether bytes wait for the rest of their character.
    bool waiting() const { return !run_.empty(); }
    /// The text since the last call.
    std::string take() { return std::exchange(ready_, {}); }

private:
    void emit_complete() {
        std::size_t at = 0;
        while (at < run_.size()) {
            const Utf8Unit unit = utf8_unit(run_, at);
            if (unit.state == Utf8State::incomplete) break;
            const bool complete = unit.state == Utf8State::complete;
            emit(complete ? std::string_view(run_).substr(at, unit.length) : kReplacementCharacter);
            at += complete || !options_.byte_level ? unit.length : broken_length(run_, at);
        }
        run_.erase(0, at);
    }

    void emit(std::string_view text) {
        while (to_strip_ > 0 && !text.empty()) {
            if (text.front() != ' ') {
                to_strip_ = 0;
                break;
            }
            text.remove_prefix(1);
            --to_strip_;
        }
        ready_ += text;
    }

    DecoderOptions options_;
    BrokenBytes broken_;
    std::size_t to_strip_;
    bool first_ = true;
    std::string run_, ready_;
};

}  // namespace moegrad
