"""The site of docs/: reference pages that are made from the code while MkDocs builds."""
