//! Under which names a model may be found.
//!
//! Decides the order in which the table's names are tried for a model as a client or the policy
//! writes it. It does not know the table. Dates are never guessed: `gpt-4o` is not
//! `gpt-4o-2024-08-06`.

use std::borrow::Cow;

/// The kind of provider in whose spelling models are written.
pub(super) const OPENROUTER: &str = "openrouter";

/// OpenRouter's routers: what they cost is what the model they pick costs, so they have no price
/// of their own, whatever a table says.
const ROUTERS: [&str; 3] = [
    "openrouter/auto",
    "openrouter/bodybuilder",
    "azure_ai/model_router",
];

/// OpenRouter's variants that are served by the model itself.
const VARIANTS: [&str; 6] = ["online", "nitro", "floor", "thinking", "extended", "exacto"];

/// A vendor as OpenRouter spells it, and where the table keeps that vendor's own entries: names
/// start with `prefix`, and their provider is one of `providers`.
struct Vendor {
    name: &'static str,
    prefix: &'static str,
    providers: &'static [&'static str],
}

const VENDORS: [Vendor; 14] = [
    Vendor {
        name: "openai",
        prefix: "",
        providers: &["openai", "text-completion-openai"],
    },
    Vendor {
        name: "anthropic",
        prefix: "",
        providers: &["anthropic"],
    },
    Vendor {
        name: "google",
        prefix: "gemini/",
        providers: &["gemini"],
    },
    Vendor {
        name: "mistralai",
        prefix: "mistral/",
        providers: &["mistral"],
    },
    Vendor {
        name: "x-ai",
        prefix: "xai/",
        providers: &["xai"],
    },
    Vendor {
        name: "deepseek",
        prefix: "deepseek/",
        providers: &["deepseek"],
    },
    Vendor {
        name: "meta-llama",
        prefix: "meta_llama/",
        providers: &["meta_llama"],
    },
    Vendor {
        name: "cohere",
        prefix: "",
        providers: &["cohere", "cohere_chat"],
    },
    Vendor {
        name: "perplexity",
        prefix: "perplexity/",
        providers: &["perplexity"],
    },
    Vendor {
        name: "ai21",
        prefix: "",
        providers: &["ai21"],
    },
    Vendor {
        name: "moonshotai",
        prefix: "moonshot/",
        providers: &["moonshot"],
    },
    Vendor {
        name: "z-ai",
        prefix: "zai/",
        providers: &["zai"],
    },
    Vendor {
        name: "qwen",
        prefix: "dashscope/",
        providers: &["dashscope"],
    },
    Vendor {
        name: "minimax",
        prefix: "minimax/",
        providers: &["minimax"],
    },
];

/// One name to try.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate<'m> {
    /// The name in the table.
    pub(super) name: Cow<'m, str>,
    /// The providers that the entry must be of; empty: any.
    pub(super) providers: &'static [&'static str],
}

/// What a model's name asks for, once OpenRouter's variants are taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage<'m> {
    /// The name with the variants that are left.
    pub(super) model: &'m str,
    /// Whether `:online` was taken off on the way here.
    pub(super) online: bool,
}

/// The name without a leading `openrouter/`, unless that is the vendor itself (`openrouter/auto`).
pub(super) fn plain(model: &str) -> &str {
    match model.strip_prefix("openrouter/") {
        Some(rest) if rest.contains('/') => rest,
        _ => model,
    }
}

/// Whether the name is a router's, with or without a variant.
pub(super) fn is_router(model: &str) -> bool {
    let base = plain(model).split(':').next().unwrap_or_default();
    ROUTERS.contains(&base) || base.starts_with("azure_ai/model_router/")
}

/// The name, then the name without its last variant, and so on.
pub(super) fn stages(model: &str) -> impl Iterator<Item = Stage<'_>> {
    let first = Stage {
        model,
        online: false,
    };
    std::iter::successors(Some(first), |stage| {
        let (base, variant) = stage.model.rsplit_once(':')?;
        VARIANTS.contains(&variant).then_some(Stage {
            model: base,
            online: stage.online || variant == "online",
        })
    })
}

/// Whether the name is one of OpenRouter's free variants, which OpenRouter documents as costing
/// nothing: `<vendor>/<model>:free`.
pub(super) fn is_free_variant(model: &str) -> bool {
    model.strip_suffix(":free").is_some_and(|base| {
        base.split_once('/')
            .is_some_and(|(v, m)| !v.is_empty() && !m.is_empty())
    })
}

/// The names to try for a model without variants, best first.
pub(super) fn candidates(model: &str) -> Vec<Candidate<'_>> {
    let mut list = vec![
        Candidate {
            name: Cow::Owned(format!("openrouter/{model}")),
            providers: &[],
        },
        Candidate {
            name: Cow::Borrowed(model),
            providers: &[],
        },
    ];
    list.extend(own_names(model));
    list
}

/// The names of the vendor's own entries for a model in OpenRouter's spelling.
pub(super) fn own_names(model: &str) -> Vec<Candidate<'_>> {
    let Some((vendor, rest)) = model.split_once('/') else {
        return Vec::new();
    };
    let Some(vendor) = VENDORS.iter().find(|known| known.name == vendor) else {
        return Vec::new();
    };
    let mut names = vec![Cow::Borrowed(rest)];
    // Anthropic writes claude-3-5-sonnet where OpenRouter writes claude-3.5-sonnet.
    if vendor.name == "anthropic" && rest.contains('.') {
        names.push(Cow::Owned(rest.replace('.', "-")));
    }
    names
        .into_iter()
        .map(|name| Candidate {
            name: if vendor.prefix.is_empty() {
                name
            } else {
                Cow::Owned(format!("{}{name}", vendor.prefix))
            },
            providers: vendor.providers,
        })
        .collect()
}

/// Who the table may say sells what a provider of this kind serves; none for kinds that run anybody's
/// models, so that nobody can say.
pub(super) fn sellers(kind: &str) -> &'static [&'static str] {
    if kind == "azure" {
        return &["azure", "azure_text"];
    }
    let vendor = VENDORS.iter().find(|vendor| vendor.name == kind);
    vendor.map_or(&[], |vendor| vendor.providers)
}

/// The name without the date at its end, if there is one: `-` and `YYYYMMDD`, `MMDD` or
/// `YYYY-MM-DD`.
pub(super) fn undated(name: &str) -> Option<&str> {
    name.char_indices()
        .filter(|(at, character)| *character == '-' && *at > 0)
        .map(|(at, _)| &name[..at])
        .find(|base| is_dated(name, base))
}

/// Whether `name` is `base` followed by a date: `-` and 4, 6 or 8 digits, or `-YYYY-MM-DD`.
pub fn is_dated(name: &str, base: &str) -> bool {
    let Some(date) = name
        .strip_prefix(base)
        .and_then(|rest| rest.strip_prefix('-'))
    else {
        return false;
    };
    let digits = date.bytes().filter(u8::is_ascii_digit).count();
    match date.len() {
        4 | 6 | 8 => digits == date.len(),
        10 => digits == 8 && date.bytes().filter(|b| *b == b'-').count() == 2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(model: &str) -> Vec<String> {
        candidates(model)
            .into_iter()
            .map(|c| c.name.into_owned())
            .collect()
    }

    #[test]
    fn openrouters_own_entry_comes_first_and_the_vendors_last() {
        assert_eq!(
            names("google/gemini-2.5-pro"),
            [
                "openrouter/google/gemini-2.5-pro",
                "google/gemini-2.5-pro",
                "gemini/gemini-2.5-pro"
            ]
        );
        assert_eq!(
            names("anthropic/claude-opus-4.6")
                .last()
                .map(String::as_str),
            Some("claude-opus-4-6")
        );
        assert_eq!(names("gpt-4o"), ["openrouter/gpt-4o", "gpt-4o"]);
        assert_eq!(names("nobody/x"), ["openrouter/nobody/x", "nobody/x"]);
    }

    #[test]
    fn variants_come_off_one_by_one() {
        let of = |model| {
            stages(model)
                .map(|s| (s.model, s.online))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("a/b:free:online"),
            [("a/b:free:online", false), ("a/b:free", true)]
        );
        assert_eq!(of("a/b:nitro"), [("a/b:nitro", false), ("a/b", false)]);
        assert_eq!(of("claude-v1:0"), [("claude-v1:0", false)]);
    }

    #[test]
    fn a_free_variant_names_vendor_and_model() {
        assert!(is_free_variant("google/gemma-3-27b-it:free"));
        for not in ["gpt-4o:free", "a/b:freely", ":free", "/:free", "a/b"] {
            assert!(!is_free_variant(not), "{not}");
        }
    }

    #[test]
    fn routers_are_known_in_every_spelling() {
        for router in [
            "openrouter/auto",
            "openrouter/openrouter/auto",
            "openrouter/auto:online",
            "azure_ai/model_router/mine",
        ] {
            assert!(is_router(router), "{router}");
        }
        assert!(!is_router("openai/gpt-4o"));
    }

    #[test]
    fn a_date_comes_off_whole() {
        for (name, base) in [
            ("gpt-4o-2024-08-06", Some("gpt-4o")),
            ("claude-3-haiku-20240307", Some("claude-3-haiku")),
            ("gpt-4-0613", Some("gpt-4")),
            ("gpt-4o", None),
            ("2024-08-06", None),
            ("-2024-08-06", None),
            ("", None),
        ] {
            assert_eq!(undated(name), base, "{name}");
        }
    }

    #[test]
    fn dates_are_digits_in_one_of_four_lengths() {
        for dated in ["m-20240307", "m-2402", "m-202402", "m-2024-03-07"] {
            assert!(is_dated(dated, "m"), "{dated}");
        }
        for not in ["m", "m-", "m-mini", "m-20240307-v1", "mx-20240307", "m-1"] {
            assert!(!is_dated(not, "m"), "{not}");
        }
    }
}
