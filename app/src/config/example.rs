//! The content of `.env.example`.

use super::variables::{VARIABLES, Variable};
use crate::product::Product;

/// Returns the content of `.env.example`: the variables of the base, then those of the product.
pub fn env_example(product: &Product) -> String {
    let mut text = format!(
        "# All environment variables of {}. All are optional on your own machine.\n",
        product.brand().program
    );
    for Variable { name, meaning, default } in VARIABLES.iter().chain(product.variables()) {
        text.push('\n');
        let mut width = 0;
        for word in meaning.split(' ') {
            if width == 0 || width + 1 + word.len() > 98 {
                text.push_str(if width == 0 { "#" } else { "\n#" });
                width = 0;
            }
            text.push(' ');
            text.push_str(word);
            width += 1 + word.len();
        }
        text.extend(["\n# ", name, "=", default, "\n"]);
    }
    text
}
