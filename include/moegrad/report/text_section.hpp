#pragma once
// The text, every token coloured by the number of true experts it used. The script colours it for the chosen arm and
// layer; without script the first arm stands there, mean over layers.

#include <moegrad/report/routing_section.hpp>

namespace moegrad::report {

/// Characters of token data that a page may hold; texts beyond it stay in tokens.csv.
inline constexpr std::size_t kTokenBudget = 300000;

/// The text uses the lighter part of the scale only, so that it stays easy to read.
inline constexpr int kTextLevels = 5;

/// True experts of a token, mean over layers.
inline double mean_experts(const Token& token) {
    double sum = 0;
    for (const auto& layer : token.experts) sum += static_cast<double>(layer.size());
    return token.experts.empty() ? 0 : sum / static_cast<double>(token.experts.size());
}

namespace detail {

inline bool same_texts(const TokenTexts& a, const TokenTexts& b) {
    if (a.texts.size() != b.texts.size()) return false;
    for (std::size_t i = 0; i < a.texts.size(); ++i) {
        const auto &one = a.texts[i].tokens, &other = b.texts[i].tokens;
        if (a.texts[i].id != b.texts[i].id || one.size() != other.size()) return false;
        for (std::size_t t = 0; t < one.size(); ++t)
            if (one[t].text != other[t].text || one[t].fact != other[t].fact) return false;
    }
    return true;
}

/// "3,5;1;;2": the experts of a token, layer by layer.
inline std::string experts_text(const Token& token, char between, char layers) {
    std::string out;
    for (std::size_t l = 0; l < token.experts.size(); ++l) {
        if (l > 0) out += layers;
        for (std::size_t k = 0; k < token.experts[l].size(); ++k)
            out += (k > 0 ? std::string(1, between) : "") + moegrad::format("{}", token.experts[l][k]);
    }
    return out;
}

/// How many texts of the first arm fit the page when each of `arms` arms adds its experts.
inline std::size_t texts_that_fit(const TokenTexts& texts, std::size_t arms) {
    std::size_t size = 0, n = 0;
    for (; n < texts.texts.size(); ++n) {
        for (const Token& token : texts.texts[n].tokens)
            size += token.text.size() + 5 + arms * (experts_text(token, ',', ';').size() + 3);
        if (size > kTokenBudget && n > 0) break;
    }
    return n;
}

inline Json text_set(const TokenTexts& texts, std::size_t count) {
    Json::Array all;
    for (std::size_t i = 0; i < std::min(count, texts.texts.size()); ++i) {
        Json::Array tokens;
        std::string facts;
        for (const Token& token : texts.texts[i].tokens) {
            tokens.emplace_back(token.text);
            facts += token.fact ? '1' : '0';
        }
        Json one = Json::object();
        one.add("id", texts.texts[i].id);
        one.add("tokens", Json(std::move(tokens)));
        one.add("facts", facts);
        all.push_back(std::move(one));
    }
    return Json(std::move(all));
}

/// "Fact tokens used 1.71 true experts, filler tokens 1.44." with the AUROC of the evaluation.
inline std::string fact_sentence(const Arm& arm, const TokenTexts& texts) {
    double sum[2] = {0, 0}, count[2] = {0, 0};
    for (const TokenText& text : texts.texts) {
        for (const Token& token : text.tokens) {
            sum[token.fact ? 1 : 0] += mean_experts(token);
            count[token.fact ? 1 : 0] += 1;
        }
    }
    if (count[0] == 0 || count[1] == 0) return "No token is labelled a fact here.";
    std::string out = "Here " + grouped(std::llround(count[1])) + " fact tokens used " +
                      fixed(sum[1] / count[1], 2) + " true experts each, " + grouped(std::llround(count[0])) +
                      " filler tokens " + fixed(sum[0] / count[0], 2) + ".";
    const Measure auroc = arm.measure("fact_auroc");
    if (auroc.known())
        out += " AUROC of experts spent on facts: " + fixed(auroc.value, 3) + " (0.5 is no preference).";
    return out;
}

inline Json arm_tokens(const Arm& arm, const RunFolder& run, std::size_t set, std::size_t count) {
    Json::Array texts;
    for (std::size_t i = 0; i < std::min(count, run.tokens.texts.size()); ++i) {
        Json::Array tokens;
        for (const Token& token : run.tokens.texts[i].tokens)
            tokens.emplace_back(experts_text(token, ',', ';'));
        texts.emplace_back(std::move(tokens));
    }
    Json json = Json::object();
    json.add("name", arm.name);
    json.add("set", static_cast<std::int64_t>(set));
    Json::Array names;
    for (std::int64_t layer = 0; layer < run.tokens.layers; ++layer) {
        const auto at = static_cast<std::size_t>(layer);
        names.emplace_back(at < run.tokens.routers.size() ? router_label(run.tokens.routers[at])
                                                          : moegrad::format("layer {}", layer));
    }
    json.add("layers", Json(std::move(names)));
    json.add("experts", run.tokens.experts);
    json.add("says", fact_sentence(arm, run.tokens));
    json.add("used", Json(std::move(texts)));
    return json;
}

inline Csv tokens_csv(const ReportData& data) {
    Csv csv({"arm", "run", "text", "position", "token", "fact", "mean_experts", "experts_by_layer"});
    for (const Arm& arm : data.arms) {
        const RunFolder* run = run_with_tokens(arm);
        if (!run) continue;
        for (const TokenText& text : run->tokens.texts) {
            std::int64_t at = 0;
            for (const Token& token : text.tokens) {
                csv.add(arm.name).add(run->name).add(text.id).add(at++).add(token.text);
                csv.add(token.fact ? "yes" : "no")
                    .add(mean_experts(token))
                    .add(experts_text(token, ' ', ';'))
                    .end();
            }
        }
    }
    return csv;
}

/// The largest mean over layers of any token: the end of the colour scale.
inline double most_experts(const ReportData& data) {
    double most = 0;
    for (const Arm& arm : data.arms) {
        const RunFolder* run = run_with_tokens(arm);
        if (!run) continue;
        for (const TokenText& text : run->tokens.texts)
            for (const Token& token : text.tokens) most = std::max(most, mean_experts(token));
    }
    return most > 0 ? std::ceil(most * 2) / 2 : 1;
}

inline std::string static_texts(const TokenTexts& texts, std::size_t count, double most) {
    std::string out;
    for (std::size_t i = 0; i < std::min(count, texts.texts.size()); ++i) {
        out += "<p class=\"passage\">";
        for (const Token& token : texts.texts[i].tokens) {
            out += moegrad::format("<span class=\"t s{}{}\">{}</span>",
                                   level_of(kTextLevels * mean_experts(token) / most / 10),
                                   token.fact ? " fact" : "", escape(token.text));
        }
        out += "</p>\n";
    }
    return out;
}

/// The arm whose tokens differ most in the experts they used: the one worth looking at first.
inline std::size_t most_varied(const ReportData& data) {
    std::size_t best = 0;
    double most = -1;
    for (std::size_t i = 0; i < data.arms.size(); ++i) {
        const RunFolder* run = run_with_tokens(data.arms[i]);
        if (!run || data.arms[i].control) continue;
        double sum = 0, squares = 0, count = 0;
        for (const TokenText& text : run->tokens.texts) {
            for (const Token& token : text.tokens) {
                const double used = mean_experts(token);
                sum += used, squares += used * used, count += 1;
            }
        }
        const double variance = count > 0 ? squares / count - sum * sum / count / count : 0;
        if (variance > most + 1e-9) best = i, most = variance;
    }
    return best;
}

/// Adds data.texts for the script; returns how many texts of the first arm with tokens it holds.
inline std::size_t add_token_data(Page& page, const ReportData& data, double most) {
    std::vector<const TokenTexts*> sets;
    Json::Array set_json, arm_json;
    std::size_t count = 0, with = 0;
    for (const Arm& arm : data.arms) with += run_with_tokens(arm) ? 1 : 0;
    for (const Arm& arm : data.arms) {
        const RunFolder* run = run_with_tokens(arm);
        if (!run) {
            Json none = Json::object();
            none.add("name", arm.name);
            arm_json.push_back(std::move(none));
            continue;
        }
        if (count == 0) count = texts_that_fit(run->tokens, with);
        std::size_t set = 0;
        while (set < sets.size() && !same_texts(*sets[set], run->tokens)) ++set;
        if (set == sets.size()) {
            sets.push_back(&run->tokens);
            set_json.push_back(text_set(run->tokens, count));
        }
        arm_json.push_back(arm_tokens(arm, *run, set, count));
    }
    Json json = Json::object();
    json.add("most", most);
    json.add("levels", kTextLevels);
    json.add("first", static_cast<std::int64_t>(most_varied(data)));
    json.add("sets", Json(std::move(set_json)));
    json.add("arms", Json(std::move(arm_json)));
    page.data.add("texts", std::move(json));
    return count;
}

/// What the colours are of, which arm stands beside, and the key.
inline std::string text_bar(const ReportData& data, double most) {
    std::string html =
        "<div class=\"textbar\"><label>colour by <select id=\"layer\"><option value=\"-1\">mean over "
        "layers</option></select></label>";
    if (data.arms.size() > 1) {
        html += "<label>beside <select id=\"beside\"><option value=\"\">none</option>";
        for (std::size_t i = 0; i < data.arms.size(); ++i) {
            if (run_with_tokens(data.arms[i]))
                html += moegrad::format("<option value=\"{}\">{}</option>", i, escape(data.arms[i].name));
        }
        html += "</select></label>";
    }
    return html + scale_key('s', "0", moegrad::format("{} experts", brief(most)), kTextLevels) + "</div>\n";
}

}  // namespace detail

inline void add_text_section(Page& page, const ReportData& data) {
    const auto found = std::find_if(data.arms.begin(), data.arms.end(),
                                    [](const Arm& arm) { return detail::run_with_tokens(arm) != nullptr; });
    if (found == data.arms.end()) {
        page.add("text", "The text", absent("No eval/tokens.json in the run folders: no coloured text."));
        return;
    }
    const RunFolder& run = *detail::run_with_tokens(*found);
    const double most = detail::most_experts(data);
    const std::size_t shown = detail::add_token_data(page, data, most), all = run.tokens.texts.size();
    double tokens = 0;
    for (const TokenText& text : run.tokens.texts) tokens += static_cast<double>(text.tokens.size());
    std::string note =
        about(data, adapters(data) + ", first seed",
              moegrad::format("{} of {} held-out texts, {} tokens in all, {} layers of {} experts", shown,
                              all, grouped(std::llround(tokens)), run.tokens.layers, run.tokens.experts));
    std::string html =
        "<p>Each token is coloured by how many true experts it used; <span class=\"fact\">facts are "
        "underlined</span>. Point at a token, or focus the text and use the arrow keys.</p>\n";
    html += arm_tabs(data, "text");
    html += detail::text_bar(data, most);
    html +=
        "<p id=\"says\" class=\"verdict\">" + escape(detail::fact_sentence(*found, run.tokens)) + "</p>\n";
    html +=
        "<div class=\"reader\"><div id=\"passages\" tabindex=\"0\" role=\"group\" aria-label=\"texts; arrow "
        "keys "
        "move from token to token\">" +
        detail::static_texts(run.tokens, shown, most) +
        "</div><aside id=\"token\" aria-live=\"polite\"></aside></div>\n<p><button type=\"button\" "
        "id=\"more\" "
        "hidden></button></p>\n";
    html += "<p class=\"note\">" + escape(note) + " <a href=\"" +
            escape(page.file("tokens.csv", detail::tokens_csv(data))) + "\">CSV</a></p>\n";
    page.add("text", "The text", html);
}

}  // namespace moegrad::report
